"""The official Google Gen AI client against a server: streams an answer, runs a chat with a function, is refused.

    python google_check.py BASE_URL API_KEY

`BASE_URL` ends in the version, `/v1beta`. Needs google-genai. Prints one JSON line; exit code 0 only if every check holds.
"""

import argparse
import json
import time

from google import genai
from google.genai import errors, types

MODEL = "gemini-3.8-flash"
SYSTEM = "You are Ada from the corner bakery."
END_CALL = types.Tool(function_declarations=[{"name": "end_call", "description": "Ends the call."}])


def config(**options):
    level = types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW)
    off = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(
        system_instruction=SYSTEM, thinking_config=level, automatic_function_calling=off, max_output_tokens=400, **options
    )


def stream(answer):
    """A streamed answer: text, function calls, finish reason, usage, and times."""
    started = time.monotonic()
    first, text, calls, reason, usage, chunks = None, "", [], None, None, 0
    for chunk in answer:
        chunks += 1
        usage = chunk.usage_metadata
        for candidate in chunk.candidates:
            reason = candidate.finish_reason or reason
            for part in (candidate.content and candidate.content.parts) or []:
                if part.text:
                    first = first or time.monotonic() - started
                    text += part.text
                if part.function_call:
                    calls.append(part)
    counted = usage.prompt_token_count + usage.candidates_token_count + (usage.thoughts_token_count or 0)
    assert usage.total_token_count == counted, usage
    times = {"first_token_ms": round((first or 0) * 1000), "all_ms": round((time.monotonic() - started) * 1000)}
    return {"text": text, "calls": calls, "reason": reason, "chunks": chunks, "times": times}


def refused(code, status, words, call):
    try:
        call()
    except errors.APIError as caught:
        assert (caught.code, caught.status) == (code, status), (caught.code, caught.status)
        assert words in caught.message, caught.message
        return
    raise AssertionError(f"the client raised no error, {code} {status} was due")


def client_of(base_url, key):
    address, _, version = base_url.rstrip("/").rpartition("/")
    options = types.HttpOptions(
        base_url=address, api_version=version, timeout=10_000, retry_options=types.HttpRetryOptions(attempts=1)
    )
    return genai.Client(api_key=key, vertexai=False, http_options=options)


def check(base_url, key):
    client = client_of(base_url, key)
    hours = stream(
        client.models.generate_content_stream(
            model=MODEL, contents="Yes, what time do you close on Saturday?", config=config(tools=[END_CALL])
        )
    )
    assert hours["text"] == "On Saturday we close at six in the evening. Can I help you with anything else?"
    assert hours["reason"] == types.FinishReason.STOP and not hours["calls"] and hours["chunks"] > 5, hours

    # The chat keeps the signatures by itself.
    chat = client.chats.create(model=MODEL, config=config(tools=[END_CALL]))
    farewell = stream(chat.send_message_stream("No, thank you very much. Goodbye."))
    assert farewell["text"] == "Thank you for ordering with us. Goodbye."
    (part,) = farewell["calls"]
    assert part.function_call.name == "end_call" and part.function_call.args == {} and part.function_call.id
    assert part.thought_signature, "Gemini 3 signs its calls"
    result = types.FunctionResponse(id=part.function_call.id, name="end_call", response={"result": "ended"})
    after = stream(chat.send_message_stream([types.Part(function_response=result)]))
    assert not after["text"] and after["reason"] == types.FinishReason.STOP, after

    whole = client.models.generate_content(model=MODEL, contents="Goodbye.", config=config())
    assert whole.text == "Thank you for ordering with us. Goodbye." and not whole.function_calls
    cut = client.models.generate_content(
        model=MODEL, contents="When do you close?", config={"max_output_tokens": 12}
    )
    assert cut.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS and len(cut.text) < 30, cut.text
    assert f"models/{MODEL}" in [model.name for model in client.models.list()]
    assert client.models.get(model=MODEL).name == f"models/{MODEL}"

    def ask(who=client, model=MODEL, contents="Hello.", **options):
        return lambda: who.models.generate_content(model=model, contents=contents, config=options or None)

    said = types.Content(role="user", parts=[types.Part(text="Goodbye.")])
    unsigned = types.Content(role="model", parts=[types.Part(function_call=part.function_call)])
    answered = types.Content(role="user", parts=[types.Part(function_response=result)])
    refused(400, "INVALID_ARGUMENT", "thought_signature", ask(contents=[said, unsigned, answered]))
    signed = types.Content(role="model", parts=[part])
    refused(400, "INVALID_ARGUMENT", "number of function response parts", ask(contents=[said, signed, said]))
    refused(400, "INVALID_ARGUMENT", "API key not valid", ask(who=client_of(base_url, "wrong")))
    refused(404, "NOT_FOUND", "is not found", ask(model="gemini-9-flash"))
    refused(404, "NOT_FOUND", "no longer available", ask(model="gemini-2.5-flash"))
    minimal = types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL)
    refused(400, "INVALID_ARGUMENT", "Thinking level MINIMAL", ask(thinking_config=minimal))
    assert ask(model="gemini-3.6-flash", thinking_config=minimal)().text
    return {"hours": hours["times"], "farewell": farewell["times"]}


def main():
    parser = argparse.ArgumentParser(description="Checks a Gemini server with the official client.")
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
