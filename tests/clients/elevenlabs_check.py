"""The official ElevenLabs client against a server: lists, speaks in both ways, is refused with a wrong key.

    python elevenlabs_check.py BASE_URL API_KEY

Needs elevenlabs 2.78.0. The client has no call for the websocket with several contexts, only its messages: these are
sent and read here with the client's own types. Prints one JSON line; exit code 0 only if every check holds.
"""

import argparse
import base64
import json
import re

from elevenlabs import ElevenLabs, VoiceSettings
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import AudioOutputMulti, FinalOutputMulti, RealtimeVoiceSettings
from websockets.sync.client import connect

TEXT = "Hello, this is Ada from the corner bakery. Your cake is ready."
VOICE = "sandboxVoiceAda00001"
MODEL = "eleven_flash_v2_5"
FORMAT = "ulaw_8000"
BYTES_PER_SECOND = 8000


def client(base_url, key):
    elevenlabs = ElevenLabs(base_url=base_url, api_key=key)
    # The client makes each address of a websocket "wss".
    elevenlabs.text_to_speech._ws_base_url = base_url
    return elevenlabs


def check_length(audio):
    seconds, words = len(audio) / BYTES_PER_SECOND, len(TEXT.split())
    assert 0.05 * words < seconds < 0.8 * words, seconds
    return round(seconds, 2)


def refused(call, status, code=None):
    try:
        call()
    except ApiError as error:
        assert error.status_code == status, error
        assert code is None or code in str(error.body), error
        return
    raise AssertionError(f"the client raised no error, {status} was due")


def realtime(elevenlabs, voice=VOICE):
    pieces = (piece + " " for piece in TEXT.split())
    settings = VoiceSettings(stability=0.5, similarity_boost=0.75)
    audio = elevenlabs.text_to_speech.convert_realtime(
        voice, text=pieces, model_id=MODEL, output_format=FORMAT, voice_settings=settings
    )
    return b"".join(audio)


def contexts(base_url, key):
    """Two contexts on one connection; what was timed, and the audio of each."""
    url = re.sub("^http", "ws", base_url) + f"/v1/text-to-speech/{VOICE}/multi-stream-input"
    query = f"?model_id={MODEL}&output_format={FORMAT}&auto_mode=true&sync_alignment=true"
    settings = RealtimeVoiceSettings(stability=0.5, similarity_boost=0.75).dict(exclude_none=True)
    audio, text, open_contexts = {}, {}, {"one", "two"}
    with connect(url + query, additional_headers={"xi-api-key": key}) as socket:
        for name in sorted(open_contexts):
            socket.send(json.dumps({"context_id": name, "text": " ", "voice_settings": settings}))
            socket.send(json.dumps({"context_id": name, "text": TEXT + " ", "flush": True}))
            socket.send(json.dumps({"context_id": name, "close_context": True}))
        while open_contexts:
            message = json.loads(socket.recv(timeout=60))
            if message.get("isFinal"):
                open_contexts.remove(FinalOutputMulti(**message).context_id)
                continue
            part = AudioOutputMulti(**message)
            received = audio.setdefault(part.context_id, bytearray())
            received += base64.b64decode(part.audio)
            alignment = part.alignment
            if alignment is None:
                continue
            starts, durations = alignment.char_start_times_ms, alignment.char_durations_ms
            assert len(alignment.chars) == len(starts) == len(durations)
            assert starts == sorted(starts) and starts[0] >= 0 and min(durations) >= 0
            text[part.context_id] = text.get(part.context_id, "") + "".join(alignment.chars)
        socket.send(json.dumps({"close_socket": True}))
    return audio, text


def check(base_url, key):
    elevenlabs = client(base_url, key)
    assert MODEL in [model.model_id for model in elevenlabs.models.list()]
    assert VOICE in [voice.voice_id for voice in elevenlabs.voices.get_all().voices]

    speak = elevenlabs.text_to_speech.stream
    streamed = b"".join(speak(VOICE, text=TEXT, model_id=MODEL, output_format=FORMAT))
    with elevenlabs.text_to_speech.with_raw_response.stream(
        VOICE, text=TEXT, model_id=MODEL, output_format=FORMAT
    ) as response:
        assert int(response.headers["character-cost"]) == len(TEXT)
        b"".join(response.data)
    live = realtime(elevenlabs)
    audio, text = contexts(base_url, key)
    for name in ("one", "two"):
        assert text[name].split() == TEXT.split(), text[name]
        check_length(audio[name])

    stranger = client(base_url, "wrong")
    refused(lambda: b"".join(client(base_url, "wrong").text_to_speech.stream(VOICE, text=TEXT)), 401, "invalid_api_key")
    refused(lambda: b"".join(speak("21m00Tcm4TlvDq8ikWAM", text=TEXT, output_format=FORMAT)), 404, "voice_not_found")
    refused(lambda: realtime(stranger), 1008)
    refused(lambda: realtime(elevenlabs, "21m00Tcm4TlvDq8ikWAM"), 1008)
    return {"seconds": {"streamed": check_length(streamed), "realtime": check_length(live)}}


def main():
    parser = argparse.ArgumentParser(description="Checks an ElevenLabs server with the official client.")
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
