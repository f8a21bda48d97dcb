"""The official Azure Speech client against a server: is heard, in one language, in several, and at 16 kHz, and is refused with a wrong key.

    python azure_check.py AZURE_URL AZURE_KEY DEEPGRAM_URL DEEPGRAM_KEY

The speech is synthesized by the Deepgram server. Needs azure-cognitiveservices-speech 1.53.0 and deepgram-sdk 7.17.0. Prints
one JSON line; exit code 0 only if every check holds.
"""

import argparse
import asyncio
import json
import re
import threading
import time

import azure.cognitiveservices.speech as speechsdk

from deepgram_check import (
    FRAME_SECONDS, MAX_WER, SENTENCES, SILENCE, WIDE_SILENCE, WIDE_VOICE, client, speak, word_errors, words,
)

TICKS = 10_000_000


def configuration(base_url, key):
    return speechsdk.SpeechConfig(host=re.sub("^http", "ws", base_url), subscription=key)


def recogniser(config, languages, is_wide):
    telephone = speechsdk.audio.AudioStreamFormat(
        samples_per_second=8000, bits_per_sample=8, channels=1,
        wave_stream_format=speechsdk.AudioStreamWaveFormat.MULAW,
    )
    # The client's own default is linear audio at 16 kHz.
    stream = speechsdk.audio.PushAudioInputStream(None if is_wide else telephone)
    options = {}
    if len(languages) > 1:
        config.set_property(speechsdk.PropertyId.SpeechServiceConnection_LanguageIdMode, "Continuous")
        options["auto_detect_source_language_config"] = speechsdk.languageconfig.AutoDetectSourceLanguageConfig(
            languages=languages
        )
    else:
        config.speech_recognition_language = languages[0]
    config.set_property(speechsdk.PropertyId.Speech_SegmentationSilenceTimeoutMs, "500")
    audio = speechsdk.audio.AudioConfig(stream=stream)
    return speechsdk.SpeechRecognizer(speech_config=config, audio_config=audio, **options), stream


def listen(config, languages, audio, is_wide=False):
    """What the client reports for this audio followed by silence: names and results, in order."""
    reports = []
    over = threading.Event()
    recognizer, stream = recogniser(config, languages, is_wide)
    for name in ["recognizing", "recognized", "canceled", "session_stopped", "speech_start_detected", "speech_end_detected"]:
        getattr(recognizer, name).connect(lambda event, name=name: reports.append((name, event)))
    recognizer.session_stopped.connect(lambda _: over.set())
    recognizer.canceled.connect(lambda _: over.set())
    recognizer.start_continuous_recognition_async().get()
    silence = WIDE_SILENCE if is_wide else SILENCE
    frames = [audio[at : at + len(silence)] for at in range(0, len(audio), len(silence))]
    frames = [silence] * 25 + frames + [silence] * 75
    started = time.monotonic()
    for number, frame in enumerate(frames):
        time.sleep(max(0.0, started + number * FRAME_SECONDS - time.monotonic()))
        stream.write(frame)
        if over.is_set():
            break
    stream.close()
    assert over.wait(20), "the session does not end"
    recognizer.stop_continuous_recognition_async().get()
    return reports


def check_reports(said, seconds, languages, reports):
    names = [name for name, _ in reports]
    assert "speech_start_detected" in names and "speech_end_detected" in names, names
    interims = [event.result for name, event in reports if name == "recognizing"]
    finals = [event.result for name, event in reports if name == "recognized"]
    finals = [final for final in finals if final.reason == speechsdk.ResultReason.RecognizedSpeech]
    assert interims, "the client asks for hypotheses"
    heard = " ".join(final.text for final in finals)
    errors = word_errors(words(said), words(heard))
    assert errors <= MAX_WER * len(words(said)), f"said {said!r}, heard {heard!r}"
    end = (finals[-1].offset + finals[-1].duration) / TICKS
    assert 0.5 < end < 0.5 + seconds + 0.5, f"the last word ends at {end} s of {seconds} s"
    if len(languages) > 1:
        told = [speechsdk.AutoDetectSourceLanguageResult(final).language for final in finals]
        assert set(told) <= set(languages) and told[0], told
    return {"said": said, "heard": heard, "word_errors": errors}


def check(arguments):
    deepgram = client(arguments.deepgram_url, arguments.deepgram_key)
    cases = list(zip(SENTENCES, [["en-US"], ["en-US", "es-ES"], ["en-US"]], [False, False, True]))

    async def spoken():
        # The client belongs to one event loop.
        formats = [WIDE_VOICE if is_wide else {} for _, _, is_wide in cases]
        return [(await speak(deepgram, said, container="none", **format))[0] for (said, _, _), format in zip(cases, formats)]

    utterances = []
    for (said, languages, is_wide), audio in zip(cases, asyncio.run(spoken())):
        reports = listen(configuration(arguments.azure_url, arguments.azure_key), languages, audio, is_wide)
        seconds = len(audio) / (32000 if is_wide else 8000)
        utterances.append(check_reports(said, seconds, languages, reports))

    reports = listen(configuration(arguments.azure_url, "wrong"), ["en-US"], b"")
    details = [event.cancellation_details for name, event in reports if name == "canceled"]
    assert details and details[0].code == speechsdk.CancellationErrorCode.AuthenticationFailure, details
    return {"utterances": utterances}


def main():
    parser = argparse.ArgumentParser(description="Checks an Azure Speech server with the official client.")
    for name in ["azure_url", "azure_key", "deepgram_url", "deepgram_key"]:
        parser.add_argument(name)
    arguments = parser.parse_args()
    try:
        report = check(arguments)
    except Exception as error:
        print(json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"}))
        raise SystemExit(1) from error
    print(json.dumps({"ok": True, **report}))


if __name__ == "__main__":
    main()
