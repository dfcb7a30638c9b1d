"""Small servers that speak the APIs of others, for engines whose real servers no test can have.

They answer as whisper.cpp's examples/server and api.elevenlabs.io are documented to, with made-up text and sound.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

WORDS = ("And", "so", "my", "fellow", "Americans")
KEY = "sk-very-secret-1234567890"
ELEVEN_VOICES = [
    {"voice_id": "21m00Tcm4TlvDq8ikWAM", "name": "Rachel", "labels": {"gender": "female", "language": "en"}},
    {"voice_id": "29vD33N1CtxCmqQRPOHJ", "name": "Drew", "labels": {"gender": "male"}},
]


@dataclass
class Asked:
    """A request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, list[str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, bytes]:
        """The parts of a multipart body by name, the last of several."""
        boundary = self.headers["content-type"].partition("boundary=")[2].encode()
        parts: dict[str, bytes] = {}
        for part in self.body.split(b"--" + boundary)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            name = head.partition(b'name="')[2].partition(b'"')[0].decode()
            parts[name] = content.removesuffix(b"\r\n")
        return parts


@dataclass
class Answered:
    """An answer; `chunks` are sent one by one in place of the body, without a length."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None


Answer = Callable[[Asked], Answered]


@dataclass
class Stub:
    """A running server: its address and what it was asked."""

    url: str
    asked: list[Asked]
    gone: threading.Event
    """Set when a client left in the middle of an answer."""


def in_json(data: Any, status: int = 200, **headers: str) -> Answered:
    """Return an answer in JSON."""
    return Answered(status, json.dumps(data).encode(), {"Content-Type": "application/json", **headers})


@contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[Stub]:
    """Serve until the block is left; an `answer` that raises ConnectionError breaks the connection off."""
    asked: list[Asked] = []
    gone = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _do(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            one = Asked(self.command, parts.path, headers, parse_qs(parts.query), body)
            asked.append(one)
            try:
                self._answer(answer(one))
            except OSError:
                gone.set()
                self.close_connection = True

        def _answer(self, found: Answered) -> None:
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            if found.chunks is None:
                self.send_header("Content-Length", str(len(found.body)))
                self.end_headers()
                self.wfile.write(found.body)
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in found.chunks:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = _do  # noqa: N815 - the names that http.server looks for

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Say nothing of clients that leave."""

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Stub(f"http://127.0.0.1:{server.server_address[1]}", asked, gone)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def whisper_cpp(asked: Asked) -> Answered:
    """Answer as whisper.cpp's server: words of made-up text, two a second, listed as tokens with their blanks."""
    if asked.path == "/health":
        return in_json({"status": "ok"})
    form = asked.form
    if asked.path == "/load":
        known = form.get("model", b"").startswith(b"models/")
        return Answered(body=b"Load was successful!") if known else in_json({"error": "model not found!"}, 400)
    if asked.path != "/inference":
        return Answered(404)
    if "file" not in form:
        return in_json({"error": "no 'file' field in the request"}, 400)
    language = form["language"].decode()
    seconds = max(len(form["file"]) - 44, 0) / 32_000
    answer: dict[str, Any] = {
        "task": "translate" if form.get("translate") == b"true" else "transcribe",
        "language": {"auto": "english", "en": "english", "de": "german"}.get(language, language),
        "duration": seconds,
        "text": "",
        "segments": [],
    }
    if form.get("no_language_probabilities") != b"true":
        answer |= {
            "detected_language": "english",
            "detected_language_probability": 0.93,
            "language_probabilities": {"en": 0.93, "de": 0.04, "nl": 0.01},
        }
    if form.get("detect_language") != b"true":
        answer["segments"] = list(_segments(seconds, tokens=form.get("token_timestamps") == b"true"))
        answer["text"] = "\n".join(each["text"] for each in answer["segments"]) + "\n"
    return in_json(answer)


def under(prefix: str, answer: Answer) -> Answer:
    """Return a server all of whose paths begin with a prefix, as whisper.cpp's do with --request-path."""

    def answered(asked: Asked) -> Answered:
        if not asked.path.startswith(prefix):
            return Answered(404)
        return answer(replace(asked, path=asked.path.removeprefix(prefix)))

    return answered


def _segments(seconds: float, *, tokens: bool) -> Iterator[dict[str, Any]]:
    said = [WORDS[number % len(WORDS)] for number in range(max(int(seconds * 2), 1))]
    for first in range(0, len(said), 8):
        some = said[first : first + 8]
        start, end = first / 2, min((first + len(some)) / 2, seconds)
        segment: dict[str, Any] = {
            "id": first // 8,
            "text": "".join(f" {word}" for word in some) + ".",
            "start": start,
            "end": end,
            "tokens": [1, 2],
            "temperature": 0.0,
            "avg_logprob": -0.2,
            "no_speech_prob": None,  # what its JSON library writes for NaN
        }
        if tokens:
            # A long word is two tokens, and a mark is one of its own.
            listed: list[dict[str, Any]] = []
            for place, word in enumerate(some):
                begin = start + place / 2
                halves = [f" {word[:6]}", word[6:]] if len(word) > 6 else [f" {word}"]
                times = {"start": begin, "end": begin + 0.4, "probability": 0.8}
                listed += [{"word": half, **times} for half in halves]
            listed.append({"word": ".", "start": end, "end": end, "probability": 0.9})
            segment["words"] = listed
        yield segment


def elevenlabs(asked: Asked) -> Answered:
    """Answer as api.elevenlabs.io: a tone that lasts as long as the text, in odd pieces."""
    if asked.headers.get("xi-api-key") != KEY:
        said = f"Invalid API key {asked.headers.get('xi-api-key')}"
        return in_json({"detail": {"status": "invalid_api_key", "message": said}}, 401)
    if asked.path == "/v1/voices":
        return in_json({"voices": ELEVEN_VOICES})
    voice, _, rest = asked.path.removeprefix("/v1/text-to-speech/").partition("/")
    if rest != "stream" or voice not in {each["voice_id"] for each in ELEVEN_VOICES}:
        return in_json({"detail": {"status": "voice_not_found", "message": "A voice was not found."}}, 404)
    body = asked.json
    if "language_code" in body and not body["model_id"].endswith("_v2_5"):
        message = f"Model '{body['model_id']}' does not support language_code."
        return in_json({"detail": {"status": "unsupported_model", "message": message}}, 400)
    rate = int(asked.query["output_format"][0].removeprefix("pcm_"))
    speed = body.get("voice_settings", {}).get("speed", 1.0)
    seconds = 0.06 * len(body["text"]) / speed
    axis = np.arange(round(seconds * rate)) / rate
    frequency = 150 + 50 * [each["voice_id"] for each in ELEVEN_VOICES].index(voice)
    pcm = np.rint(np.sin(2 * np.pi * frequency * axis) * 9000).astype("<i2").tobytes()
    pieces = (pcm[first : first + 4801] for first in range(0, len(pcm), 4801))
    return Answered(headers={"Content-Type": "audio/pcm"}, chunks=pieces)
