"""Word times by way of an ASR service: with one that says what the test wants, and with the real one."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import io
import json
import threading
import tracemalloc
import wave
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.engines import EngineContext
from core.errors import DeadlineExceeded, Unavailable
from tts import engine_factory
from tts.align import BATCH_SECONDS, Alignment, Ear
from tts.voice import SpeechOptions

pytestmark = pytest.mark.anyio
RATE = 8000
Hear = Callable[[dict[str, Any]], Any]


class Asr:
    """An ASR service that answers what `hear` returns for a request; it notes the requests."""

    def __init__(self) -> None:
        self.hear: Hear = lambda _: {"words": []}
        self.status = 200
        self.requests: list[dict[str, Any]] = []
        asr = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                asked = {**_form(self.headers["content-type"], body), "path": self.path, "headers": dict(self.headers)}
                asr.requests.append(asked)
                answer = json.dumps(asr.hear(asked)).encode()
                self.send_response(asr.status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found: dict[str, Any] = {}
    for part in message.iter_parts():
        found[str(part.get_param("name", header="content-disposition"))] = part.get_payload(decode=True)
    return found


@pytest.fixture
def asr() -> Iterator[Asr]:
    made = Asr()
    yield made
    made.server.shutdown()
    made.server.server_close()


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


def seconds_of(asked: dict[str, Any]) -> float:
    with wave.open(io.BytesIO(asked["file"])) as sound:
        return sound.getnframes() / sound.getframerate()


async def aligned(
    url: str, pieces: list[tuple[str, float]], folder: Path, *, key: str | None = None, timeout: float = 60
) -> list[tuple[str, float, float]]:
    ear = Ear(url, key)
    alignment = Alignment(ear, sample_rate=RATE, language="en", folder=folder, timeout=timeout)
    try:
        for number, (text, seconds) in enumerate(pieces):
            await alignment.add(number, text, silence(seconds))
        await alignment.finish()
    finally:
        await alignment.close()
        await ear.close()
    return [(each.word, each.start, each.end) for each in alignment.words]


def heard(*words: tuple[str, float, float]) -> Hear:
    return lambda _: {"text": "", "words": [{"word": word, "start": start, "end": end} for word, start, end in words]}


async def test_the_texts_words_get_the_times_of_what_was_heard(asr: Asr, tmp_path: Path) -> None:
    asr.hear = heard((" hello", 0.1, 0.6), (" World.", 1.0, 1.5))
    found = await aligned(asr.url, [("Hello, World!", 2.0)], tmp_path, key="secret")
    assert found == [
        ("Hello", pytest.approx(0.1), pytest.approx(0.6)),
        ("World", pytest.approx(1.0), pytest.approx(1.5)),
    ]
    (asked,) = asr.requests
    assert asked["path"] == "/v1/audio/transcriptions"
    assert asked["headers"]["Authorization"] == "Bearer secret"
    assert asked["language"] == b"en"
    assert asked["response_format"] == b"verbose_json"
    assert asked["timestamp_granularities[]"] == b"word"
    assert seconds_of(asked) == pytest.approx(2.0)


async def test_a_word_that_was_heard_wrong_lies_between_its_neighbours(asr: Asr, tmp_path: Path) -> None:
    asr.hear = heard(("see", 0.0, 0.3), ("Mr.", 0.4, 0.6), ("Smyth", 0.6, 1.1), ("today", 1.3, 1.8))
    found = await aligned(asr.url, [("See Xq today.", 2.0)], tmp_path)
    assert [word for word, _, _ in found] == ["See", "Xq", "today"]
    assert 0.3 <= found[1][1] < found[1][2] <= 1.1
    assert found[2] == ("today", pytest.approx(1.3), pytest.approx(1.8))


async def test_silence_that_nobody_heard_is_shared_out(asr: Asr, tmp_path: Path) -> None:
    found = await aligned(asr.url, [("a bb", 3.0)], tmp_path)
    assert found == [("a", 0.0, 1.0), ("bb", 1.0, 3.0)]


async def test_long_speech_is_heard_in_batches_and_times_go_on(asr: Asr, tmp_path: Path) -> None:
    asr.hear = heard(("one", 1.0, 2.0))
    found = await aligned(asr.url, [("one", 20.0), ("one", 20.0), ("one", 4.0), ("one", 4.0)], tmp_path)
    assert len(asr.requests) > 1
    assert max(map(seconds_of, asr.requests)) <= max(BATCH_SECONDS, 20.0)
    assert sum(map(seconds_of, asr.requests)) == pytest.approx(48.0)
    assert [word for word, _, _ in found] == ["one"] * 4
    assert found[0] == ("one", 1.0, 2.0)
    assert found[1] == ("one", 21.0, 22.0)
    edges = [edge for _, start, end in found for edge in (start, end)]
    assert edges == sorted(edges)
    assert edges[-1] <= 48.0


@pytest.mark.parametrize("answer", ["nothing", {"words": [{"word": 1}]}, [], None])
async def test_an_answer_that_makes_no_sense_is_unavailable(asr: Asr, tmp_path: Path, answer: Any) -> None:
    asr.hear = lambda _: answer
    with pytest.raises(Unavailable):
        await aligned(asr.url, [("one", 1.0)], tmp_path)


async def test_a_service_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await aligned("http://127.0.0.1:9", [("one", 1.0), ("two", 40.0), ("three", 40.0)], tmp_path)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_speech_that_the_service_refuses_is_shared_out(asr: Asr, tmp_path: Path, status: int) -> None:
    asr.status = status
    assert await aligned(asr.url, [("a bb", 3.0)], tmp_path) == [("a", 0.0, 1.0), ("bb", 1.0, 3.0)]


@pytest.mark.parametrize(("status", "final"), [(401, True), (403, True), (404, True), (429, False), (500, False)])
async def test_a_service_that_knows_us_not_is_the_operators_affair(
    asr: Asr, tmp_path: Path, status: int, final: bool
) -> None:
    asr.status = status
    with pytest.raises(Unavailable) as caught:
        await aligned(asr.url, [("one", 1.0)], tmp_path)
    assert (caught.value.headers() == {"x-should-retry": "false"}) is final
    assert ("TTS_ALIGN_URL" in caught.value.message) is final


async def test_what_waits_for_a_slow_service_is_in_a_file(asr: Asr, tmp_path: Path) -> None:
    go = threading.Event()
    asr.hear = lambda _: {"words": [{"word": "one", "start": 1.0, "end": 2.0}]} if go.wait(30) else None
    ear = Ear(asr.url, None)
    alignment = Alignment(ear, sample_rate=RATE, language=None, folder=tmp_path, timeout=60)
    piece = silence(20.0)
    tracemalloc.start()
    try:
        for number in range(40):
            await alignment.add(number, "one", bytes(piece))
            await asyncio.sleep(0)
        assert tracemalloc.get_traced_memory()[0] < 6 * len(piece)
        go.set()
        await alignment.finish()
    finally:
        tracemalloc.stop()
        go.set()
        await alignment.close()
        await ear.close()
    assert [each.start for each in alignment.words] == pytest.approx([1.0 + 20 * number for number in range(40)])
    assert {seconds_of(asked) for asked in asr.requests} == {20.0}


async def test_an_error_is_told_while_the_speech_is_still_being_made(tmp_path: Path) -> None:
    ear = Ear("http://127.0.0.1:9", None)
    alignment = Alignment(ear, sample_rate=RATE, language=None, folder=tmp_path, timeout=60)

    async def speak() -> None:
        for number in range(10_000):
            await alignment.add(number, "one", silence(1.0))
            await asyncio.sleep(0.001)

    with pytest.raises(Unavailable):
        await speak()
    await alignment.close()
    await ear.close()


async def test_a_service_that_takes_too_long_is_a_deadline(asr: Asr, tmp_path: Path) -> None:
    go = threading.Event()
    asr.hear = lambda _: {"words": []} if go.wait(30) else None
    try:
        with pytest.raises(DeadlineExceeded):
            await aligned(asr.url, [("one", 1.0)], tmp_path, timeout=0.2)
    finally:
        go.set()


@pytest.mark.e2e
def test_a_speech_service_asks_the_asr_service(start_service: Any, asr: Asr) -> None:
    env = {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", "TTS_ENGINE_OPTIONS__TIMES_WORDS": "false"}
    service = start_service("tts", {**env, "TTS_ALIGN_URL": asr.url})
    asr.hear = heard(("hello", 0.0, 0.3), ("world", 0.4, 0.8))
    body = {"input": "Hello world.", "timestamps": "word", "response_format": "wav"}
    with httpx.Client(base_url=service.url, timeout=60) as client:
        words = client.post("/v1/audio/speech", json=body).json()["words"]
        assert words == [
            {"word": "Hello", "start": 0.0, "end": 0.3},
            {"word": "world", "start": 0.4, "end": pytest.approx(0.7, abs=0.1)},
        ]
        doubled = client.post("/v1/audio/speech", json={**body, "speed": 4}).json()["words"]
        assert doubled[0]["end"] == pytest.approx(0.15)  # the engine speaks at 2, the rest is stretched
        streamed = client.post("/v1/audio/speech", json={**body, "stream_format": "sse"}).text
        assert streamed.count("event: speech.word\n") == 2
        asr.hear = lambda _: "nothing"
        assert client.post("/v1/audio/speech", json=body).status_code == 503
        broken = client.post("/v1/audio/speech", json={**body, "stream_format": "sse", "response_format": "mp3"})
        assert "unavailable" in broken.text


@pytest.mark.e2e
async def test_what_the_engine_says_is_what_is_heard(
    real_asr: Any, model_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = model_dir("kokoro-82m-int8")
    engine = engine_factory.registry().get("kokoro")(EngineContext(model=folder, threads=2))
    engine.load()
    text = "The quick brown fox jumps over the lazy dog, and in the evening it still does."
    try:
        (spoken,) = engine.synthesize(text, engine.voices()[0], SpeechOptions(timestamps=True))
    finally:
        engine.close()
    ear = Ear(real_asr.url, None)
    alignment = Alignment(ear, sample_rate=spoken.sample_rate, language="en", folder=tmp_path, timeout=600)
    await alignment.add(0, text, spoken.to_s16())
    await alignment.finish()
    await ear.close()
    assert [each.word for each in alignment.words] == [each.word for each in spoken.words]
    # Whisper base is a quarter of a second early; a wrong word would be off by more.
    apart = [abs(found.start - told.start) for told, found in zip(spoken.words, alignment.words, strict=True)]
    assert max(apart) < 0.6
    assert sum(apart) / len(apart) < 0.35
