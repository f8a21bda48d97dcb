"""Offline speaking and hearing behind a little HTTP, for machines without any key.

POST /synthesize  JSON {"text": "...", "speed": 1.0}   -> 24 kHz mono s16le samples
POST /transcribe  16 kHz mono s16le samples            -> JSON {"text": "..."}
Errors are JSON {"error": "..."} with a fitting status.

Loads both engines, then prints one line {"url": "http://127.0.0.1:PORT"}; ends when stdin closes.
Needs hibari-tts (speaks, Apache-2.0) and moonshine-voice 0.0.49 (hears, MIT; the version whose wheel has the weights).
"""

import heapq
import itertools
import json
import os
import re
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from hibari import Hibari
from moonshine_voice.moonshine_api import ModelArch
from moonshine_voice.transcriber import Transcriber
from moonshine_voice.utils import get_model_path

SPOKEN_RATE = 24_000
HEARD_RATE = 16_000
# Quieter than this (-46 dB of full scale) is silence; what of it is left around a sentence, in seconds.
SILENCE = 0.005
BREATH, PAUSE = 0.04, 0.25
MAX_TEXT_BYTES = 16_384
MAX_AUDIO_BYTES = 60 * HEARD_RATE * 2

# What the voice reads wrongly by itself: phone numbers before a full stop, codes, long rows of digits.
PHONE = re.compile(r"(?<!\w)\+?\d[\d()]*(?:[- ]\(?\d{2,}\)?)*-\d{3,}(?!\w)")
CODE = re.compile(r"\b([A-Z]{1,5})[- ]?(\d{2,})\b")
ROW = re.compile(r"(?<![\w.,:$£€])\+?(?:0\d+|\d{5,})(?![\w%]|[.,:]\d)")
# Spellings of one word: recognised right, written otherwise than people write it.
GOODBYE = re.compile(r"\b(g)ood[- ]?bye?\b", re.IGNORECASE)


def speakable(text):
    """The text with numbers that are codes or phone numbers written digit by digit."""

    def digits(row):
        return " ".join(row)

    def phone(match):
        return ", ".join(digits(group) for group in re.findall(r"\d+", match.group()))

    text = PHONE.sub(phone, text)
    text = CODE.sub(lambda match: f"{digits(match[1])}, {digits(match[2])}", text)
    return ROW.sub(lambda match: digits(match.group().lstrip("+")), text)


class ShortestFirst:
    """A lock that goes to whoever has the least to do: a short answer is not stuck behind long speeches."""

    def __init__(self):
        self.changed = threading.Condition()
        self.tickets = itertools.count()
        self.waiting = []
        self.taken = False

    @contextmanager
    def turn(self, length):
        ticket = (length, next(self.tickets))
        with self.changed:
            heapq.heappush(self.waiting, ticket)
            self.changed.wait_for(lambda: not self.taken and self.waiting[0] == ticket)
            heapq.heappop(self.waiting)
            self.taken = True
        try:
            yield
        finally:
            with self.changed:
                self.taken = False
                self.changed.notify_all()


class Engines:
    """The two engines, each used by one request at a time."""

    def __init__(self):
        self.voice = Hibari(threads=1)
        self.voice_turns = ShortestFirst()
        # The caller cuts utterances; the recogniser's own cutting would only cost time and split sentences.
        options = {"vad_threshold": 0.0, "return_audio_data": "false"}
        self.ears = Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY, options=options)
        self.ears_turns = ShortestFirst()

    def synthesize(self, text, speed):
        with self.voice_turns.turn(len(text)):
            # The seed makes the same text sound the same every time.
            audio = self.voice(speakable(text), speed=speed, seed=0)
        return (np.clip(trimmed(audio), -1.0, 1.0) * 32767.0).astype("<i2").tobytes()

    def transcribe(self, pcm):
        samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0
        with self.ears_turns.turn(len(samples)):
            lines = self.ears.transcribe_without_streaming(samples.tolist(), HEARD_RATE).lines
        text = " ".join(line.text.strip() for line in lines).strip()
        return GOODBYE.sub(r"\1oodbye", text)


def trimmed(audio):
    """The speech without the near second of silence that the engine puts around every sentence.

    Said one after the other, sentences would stand further apart than people's turns do. What stays
    is a short breath before and the usual pause after a sentence.
    """
    loud = np.flatnonzero(np.abs(audio) > SILENCE)
    if not loud.size:
        return audio
    start = max(0, loud[0] - int(BREATH * SPOKEN_RATE))
    return audio[start : loud[-1] + int(PAUSE * SPOKEN_RATE)]


class Refused(Exception):
    """A request that cannot be served, with its status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60  # seconds a connection may stand idle

    def do_POST(self):
        try:
            if self.path == "/synthesize":
                self.answer(200, "application/octet-stream", self.synthesize())
            elif self.path == "/transcribe":
                self.answer_json(200, {"text": self.transcribe()})
            else:
                raise Refused(404, "no such path")
        except Refused as refused:
            self.close_connection = True  # its body may not have been read
            self.answer_json(refused.status, {"error": str(refused)})
        except OSError:
            self.close_connection = True  # the client went away
        except Exception as error:
            self.close_connection = True
            self.answer_json(500, {"error": f"{type(error).__name__}: {error}"})

    def do_GET(self):
        self.answer_json(404, {"error": "no such path"})

    def synthesize(self):
        try:
            request = json.loads(self.body(MAX_TEXT_BYTES))
            text, speed = request["text"], float(request.get("speed", 1.0))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(400, f"not a JSON object with text and speed: {error}") from error
        if not isinstance(text, str) or not text.strip():
            raise Refused(400, "text must be a text that is not empty")
        if not 0.5 <= speed <= 2.0:
            raise Refused(400, "speed must be from 0.5 to 2")
        return self.server.engines.synthesize(text, speed)

    def transcribe(self):
        pcm = self.body(MAX_AUDIO_BYTES)
        if not pcm or len(pcm) % 2:
            raise Refused(400, "the body must be 16-bit samples")
        return self.server.engines.transcribe(pcm)

    def body(self, limit):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(411, "Content-Length is needed")
        if int(length) > limit:
            raise Refused(413, f"more than {limit} bytes")
        return self.rfile.read(int(length))

    def answer_json(self, status, value):
        self.answer(status, "application/json", json.dumps(value).encode())

    def answer(self, status, content_type, body):
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        """Silent: requests are what people say."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, engines):
        super().__init__(("127.0.0.1", 0), Handler)
        self.engines = engines


def main():
    engines = Engines()
    engines.transcribe(engines.synthesize("Ready.", 1.0)[:HEARD_RATE])  # the first run of each is the slowest
    server = Server(engines)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    try:
        sys.stdin.buffer.read()
    except KeyboardInterrupt:
        pass
    # Without unwinding: a request may be inside an engine, and the recogniser's library crashes when unloaded.
    os._exit(0)


if __name__ == "__main__":
    main()
