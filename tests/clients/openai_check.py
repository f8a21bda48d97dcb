"""The official OpenAI client against a server: streams an answer and a tool call, is refused with a wrong key.

    python openai_check.py BASE_URL API_KEY

Needs openai 3.57.0. Prints one JSON line; exit code 0 only if every check holds.
"""

import argparse
import json
import time

import openai

MODEL = "gpt-6-luna"
SYSTEM = {"role": "system", "content": "You are Ada from the corner bakery."}
END_CALL = {
    "type": "function",
    "function": {
        "name": "end_call",
        "description": "Ends the call.",
        "parameters": {"type": "object", "properties": {}},
    },
}


def stream(client, said, **options):
    """A streamed answer: text, tool calls, finish reason, usage, and times."""
    started = time.monotonic()
    first, text, calls, reason, usage, chunks = None, "", {}, None, None, 0
    answer = client.chat.completions.create(
        model=MODEL, messages=[SYSTEM, {"role": "user", "content": said}], reasoning_effort="none",
        stream=True, stream_options={"include_usage": True}, **options,
    )
    for chunk in answer:
        if chunk.usage:
            assert not chunk.choices, "the usage comes in a chunk of its own"
            usage = chunk.usage
            continue
        delta = chunk.choices[0].delta
        reason = chunk.choices[0].finish_reason or reason
        if delta.content:
            first = first or time.monotonic() - started
            text += delta.content
            chunks += 1
        for piece in delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
            call["arguments"] += piece.function.arguments or ""
    assert usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    seconds = time.monotonic() - started
    times = {"first_token_ms": round((first or 0) * 1000), "all_ms": round(seconds * 1000)}
    return {"text": text, "calls": list(calls.values()), "reason": reason, "chunks": chunks, "times": times}


def refused(error, code, call):
    try:
        call()
    except error as caught:
        assert caught.code == code, caught.code
        return
    raise AssertionError(f"the client raised no error, {error.__name__} was due")


def check(base_url, key):
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=10)
    hours = stream(client, "Yes, what time do you close on Saturday?", tools=[END_CALL])
    assert hours["text"] == "On Saturday we close at six in the evening. Can I help you with anything else?"
    assert hours["reason"] == "stop" and not hours["calls"] and hours["chunks"] > 5, hours

    farewell = stream(client, "No, thank you very much. Goodbye.", tools=[END_CALL], tool_choice="auto")
    assert farewell["text"] == "Thank you for ordering with us. Goodbye."
    assert farewell["reason"] == "tool_calls", farewell
    (call,) = farewell["calls"]
    assert call["id"].startswith("call_") and call["name"] == "end_call" and json.loads(call["arguments"]) == {}

    without = stream(client, "Goodbye.")
    assert without["reason"] == "stop" and not without["calls"], "a tool that is not offered cannot be called"
    unclear = stream(client, "Purple elephants.")
    assert unclear["text"] == "I'm sorry, could you say that again?"

    history = [
        SYSTEM,
        {"role": "user", "content": "Goodbye."},
        {
            "role": "assistant",
            "content": farewell["text"],
            "tool_calls": [{"id": call["id"], "type": "function", "function": {"name": "end_call", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": "ended"},
    ]
    whole = client.chat.completions.create(model=MODEL, messages=history, tools=[END_CALL], reasoning_effort="none")
    assert not whole.choices[0].message.content and whole.choices[0].finish_reason == "stop"
    assert MODEL in [model.id for model in client.models.list()]

    ask = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}]}
    stranger = openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0, timeout=10)
    refused(openai.AuthenticationError, "invalid_api_key", lambda: stranger.chat.completions.create(**ask))
    limited = {**ask, "max_tokens": 10}
    refused(openai.BadRequestError, "unsupported_parameter", lambda: client.chat.completions.create(**limited))
    unknown = {**ask, "model": "no-such-model"}
    refused(openai.NotFoundError, "model_not_found", lambda: client.chat.completions.create(**unknown))
    return {"hours": hours["times"], "farewell": farewell["times"], "arguments": call["arguments"]}


def main():
    parser = argparse.ArgumentParser(description="Checks an OpenAI server with the official client.")
    parser.add_argument("base_url")
    parser.add_argument("api_key")
    arguments = parser.parse_args()
    try:
        report = check(arguments.base_url, arguments.api_key)
    except Exception as error:
        print(json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"}))
        raise SystemExit(1) from error
    print(json.dumps({"ok": True, **report}))


if __name__ == "__main__":
    main()
