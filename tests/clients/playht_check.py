"""PlayHT's official client against a server: asks where the models are, speaks, and is refused with a wrong key or voice.

    python playht_check.py BASE_URL API_KEY USER_ID

Needs pyht 0.1.14, the last one. It streams over HTTP; for PlayHT2.0-turbo, the engine of the adapter, it speaks gRPC only.
Prints one JSON line; exit code 0 only if every check holds.
"""

import argparse
import json
import logging

from pyht.client import Client, Format, InferenceCoordinatesOptions, TTSOptions

VOICE = "s3://voice-cloning-zero-shot/1f44b3e7-22ea-4c2e-87d0-b4d9c8f1d47d/sophia/manifest.json"
SAID = "Hello, this is Ada from the corner bakery. Your cake is ready."


def client(base_url, key, user):
    where = InferenceCoordinatesOptions(api_url=f"{base_url}/api/v4", coordinates_get_api_call_max_retries=1)
    # Without a lease, which is for gRPC alone.
    return Client(user, key, auto_connect=False, advanced=Client.AdvancedOptions(inference_coordinates_options=where))


def speak(playht, engine="PlayDialog", **options):
    options = {"voice": VOICE, "format": Format.FORMAT_MULAW, "sample_rate": 8000, **options}
    return b"".join(playht.tts(SAID, TTSOptions(**options), voice_engine=engine, protocol="http"))


def refused(call, *reasons):
    try:
        call()
    except Exception as error:
        assert any(reason in str(error) for reason in reasons), error
        return
    raise AssertionError(f"the client raised no error, one of {reasons} was due")


def check(base_url, key, user):
    playht = client(base_url, key, user)
    words = len(SAID.split())
    lengths = {}
    for engine in ["PlayDialog", "Play3.0-mini"]:
        audio = speak(playht, engine, temperature=0.5, text_guidance=1.5, style_guidance=10)
        assert not audio.startswith(b"RIFF"), "raw audio was asked for"
        lengths[engine] = len(audio) / 8000
        assert 0.15 * words < lengths[engine] < 0.8 * words, lengths
    faster = len(speak(playht, speed=1.5)) / 8000
    assert faster < 0.9 * lengths["PlayDialog"], (faster, lengths)
    wide = len(speak(playht, format=Format.FORMAT_RAW, sample_rate=16000)) / 32000
    assert abs(wide - lengths["PlayDialog"]) < 0.2 * wide, (wide, lengths)

    refused(lambda: speak(client(base_url, "wrong", user)), "401")
    refused(lambda: speak(client(base_url, key, "stranger")), "401")
    refused(lambda: speak(playht, voice="susan"), "404")
    refused(lambda: speak(playht, speed=9.0), "400")
    refused(lambda: speak(playht, format=Format.FORMAT_MP3), "400")
    return {"seconds": lengths}


def main():
    parser = argparse.ArgumentParser(description="Checks a PlayHT server with the official client.")
    for name in ["base_url", "api_key", "user_id"]:
        parser.add_argument(name)
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    try:
        report = check(arguments.base_url, arguments.api_key, arguments.user_id)
    except Exception as error:
        print(json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"}))
        raise SystemExit(1) from error
    print(json.dumps({"ok": True, **report}))


if __name__ == "__main__":
    main()
