"""The official Deepgram client against a server: speaks, is heard, takes turns, is refused with a wrong key.

    python deepgram_check.py BASE_URL API_KEY

Needs deepgram-sdk 7.17.0. Prints one JSON line; exit code 0 only if every check holds.
"""

import argparse
import asyncio
import json
import re
import time

from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

SENTENCES = [
    "Hello, this is Ada from the corner bakery. Your cake is ready. Do you have any questions?",
    "Yes, what time do you close on Saturday?",
    "No, thank you very much. Goodbye.",
]
VOICE = {"model": "aura-2-thalia-en", "encoding": "mulaw", "sample_rate": 8000}
FRAME_BYTES = 160
FRAME_SECONDS = 0.02
SILENCE = b"\xff" * FRAME_BYTES
# Linear audio at 16 kHz: what a browser sends.
WIDE_VOICE = {"encoding": "linear16", "sample_rate": 16000}
WIDE_SILENCE = b"\x00" * 640
ENDPOINTING_MS = 300
MAX_WER = 0.15


def client(base_url, key):
    sockets = re.sub("^http", "ws", base_url)
    environment = DeepgramClientEnvironment(base=base_url, production=sockets, agent=sockets, agent_rest=base_url)
    return AsyncDeepgramClient(api_key=key, environment=environment)


def words(text):
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def word_errors(said, heard):
    """Word-level edit distance."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


async def speak(deepgram, text, **options):
    """The audio, and seconds to its first byte."""
    started = time.monotonic()
    first, audio = None, b""
    async for chunk in deepgram.speak.v1.audio.generate(text=text, **{**VOICE, **options}):
        first = first or time.monotonic() - started
        audio += chunk
    return audio, first


async def listen(deepgram, audio):
    """What the server sent for this audio followed by silence, each message with its time of arrival."""
    messages = []
    heard = asyncio.Event()

    def on_message(message):
        messages.append((time.monotonic(), message))
        if message.type == "UtteranceEnd":
            heard.set()

    connection = deepgram.listen.v1.connect(
        model="nova-3", encoding="mulaw", sample_rate=8000, interim_results=True, endpointing=ENDPOINTING_MS,
        utterance_end_ms=1000, vad_events=True, smart_format=True,
    )
    async with connection as socket:
        socket.on(EventType.MESSAGE, on_message)
        listening = asyncio.create_task(socket.start_listening())
        frames = [audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES)]
        frames = [SILENCE] * 25 + frames + [SILENCE] * 150
        started = time.monotonic()
        for number, frame in enumerate(frames):
            await asyncio.sleep(max(0.0, started + number * FRAME_SECONDS - time.monotonic()))
            await socket.send_media(frame)
            if heard.is_set():
                break
        await socket.send_close_stream()
        await asyncio.wait_for(listening, 10)
    return started, messages


async def take_turns(deepgram, sentences, silence=SILENCE, **audio_format):
    """What a Flux model sent for these sentences with silence after each, in the telephone's format or another one."""
    messages = []
    audio_format = audio_format or {"encoding": "mulaw", "sample_rate": 8000}
    connection = deepgram.listen.v2.connect(
        model="flux-general-en", **audio_format, eager_eot_threshold=0.5, eot_timeout_ms=3000, keyterm=["corner bakery"],
    )
    size = len(silence)
    async with connection as socket:
        socket.on(EventType.MESSAGE, messages.append)
        listening = asyncio.create_task(socket.start_listening())
        for sentence in sentences:
            audio, _ = await speak(deepgram, sentence, container="none", **audio_format)
            frames = [silence] * 25 + [audio[at : at + size] for at in range(0, len(audio), size)] + [silence] * 100
            # The vendor advises messages of 80 ms.
            chunks = [b"".join(frames[at : at + 4]) for at in range(0, len(frames), 4)]
            started = time.monotonic()
            for number, chunk in enumerate(chunks):
                await asyncio.sleep(max(0.0, started + 4 * number * FRAME_SECONDS - time.monotonic()))
                await socket.send_media(chunk)
        await socket.send_close_stream()
        await asyncio.wait_for(listening, 10)
    return messages


def check_turns(sentences, messages):
    assert messages[0].type == "Connected", messages[0]
    numbers = [message.sequence_id for message in messages]
    assert numbers == list(range(len(numbers))), "every message has the next number"
    infos = [message for message in messages if message.type == "TurnInfo"]
    ends = [info for info in infos if info.event == "EndOfTurn"]
    assert [info.turn_index for info in ends] == list(range(len(ends))), "turns are counted"
    heard = " ".join(info.transcript for info in ends)
    said = " ".join(sentences)
    errors = word_errors(words(said), words(heard))
    assert errors <= MAX_WER * len(words(said)), f"said {said!r}, heard {heard!r}"
    for end in ends:
        turn = [info for info in infos if info.turn_index == end.turn_index]
        events = [info.event for info in turn]
        assert events.count("StartOfTurn") == 1 and events.count("EndOfTurn") == 1, events
        assert turn[events.index("StartOfTurn")].transcript, "a turn begins with words"
        eager = [info for info in turn if info.event == "EagerEndOfTurn"]
        assert eager and eager[-1].transcript == end.transcript, "a probable end has the words of the end"
        assert end.trigger == "model", end.trigger
        assert all(info.trigger is None for info in turn if info is not end)
    return {"heard": heard, "word_errors": errors, "turns": len(ends)}


def check_messages(said, started, messages):
    kinds = [message.type for _, message in messages]
    assert "SpeechStarted" in kinds, kinds
    assert "UtteranceEnd" in kinds, kinds
    assert kinds[-1] == "Metadata", kinds
    results = [(at, message) for at, message in messages if message.type == "Results"]
    finals = [(at, message) for at, message in results if message.is_final]
    assert len(finals) < len(results), "interim results were asked for"
    heard = " ".join(message.channel.alternatives[0].transcript for _, message in finals).strip()
    errors = word_errors(words(said), words(heard))
    assert errors <= MAX_WER * len(words(said)), f"said {said!r}, heard {heard!r}"

    # The finals tile the stream, and every word lies in its final.
    position = 0.0
    for _, message in finals:
        assert abs(message.start - position) < 0.001, (message.start, position)
        position = message.start + message.duration
        for word in message.channel.alternatives[0].words:
            assert message.start <= word.start < word.end <= position
            assert word.punctuated_word

    arrived, last = [(at, message) for at, message in finals if message.speech_final][-1]
    speech_end = last.channel.alternatives[0].words[-1].end
    utterance_end = next(message for _, message in messages if message.type == "UtteranceEnd")
    assert abs(utterance_end.last_word_end - speech_end) < 0.001
    return {"heard": heard, "word_errors": errors, "final_ms": round((arrived - started - speech_end) * 1000)}


async def refused(call, status):
    try:
        await call
    except ApiError as error:
        assert error.status_code == status, error
        return
    raise AssertionError(f"the client raised no error, {status} was due")


async def check(base_url, key):
    deepgram = client(base_url, key)
    utterances = []
    for said in SENTENCES:
        audio, first = await speak(deepgram, said, container="none")
        assert not audio.startswith(b"RIFF"), "raw audio was asked for"
        seconds = len(audio) / 8000
        assert 0.15 * len(words(said)) < seconds < 0.8 * len(words(said)), seconds
        started, messages = await listen(deepgram, audio)
        heard = check_messages(said, started, messages)
        utterances.append({"said": said, "seconds": round(seconds, 2), "first_byte_ms": round(first * 1000), **heard})

    turns = [
        check_turns(SENTENCES[1:2], await take_turns(deepgram, SENTENCES[1:2])),
        check_turns(SENTENCES[2:], await take_turns(deepgram, SENTENCES[2:], WIDE_SILENCE, **WIDE_VOICE)),
    ]

    wav, _ = await speak(deepgram, "Hello there.")
    assert wav[:4] == b"RIFF" and wav[8:16] == b"WAVEfmt ", "without container=none mu-law comes as WAV"

    stranger = client(base_url, "wrong")
    await refused(speak(stranger, "Hello."), 401)
    await refused(listen(stranger, b""), 401)
    await refused(speak(deepgram, "a" * 2001, container="none"), 413)
    return {"utterances": utterances, "turns": turns}


def main():
    parser = argparse.ArgumentParser(description="Checks a Deepgram server with the official client.")
    parser.add_argument("base_url")
    parser.add_argument("api_key")
    arguments = parser.parse_args()
    try:
        report = asyncio.run(asyncio.wait_for(check(arguments.base_url, arguments.api_key), 120))
    except Exception as error:
        print(json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"}))
        raise SystemExit(1) from error
    print(json.dumps({"ok": True, **report}))


if __name__ == "__main__":
    main()
