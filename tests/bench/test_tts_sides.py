"""The sides of `make bench-tts`: a stream that is known, our service with the fake engine, and the bare libraries."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import pytest
from rich.progress import Progress

from bench import environments, tts
from bench.tts_cells import KOKORO, MP3, SERVICE
from bench.tts_plan import Part
from bench.tts_sides import bare, fastkokoro, over_http, write_voices
from bench.tts_texts import BRIEF, Supply

HALF = 4800
"""Bytes of a tenth of a second."""
PAUSE = 0.2
needs_piper = pytest.mark.skipif(find_spec("piper") is None, reason="piper-tts is not installed")


class Handler(BaseHTTPRequestHandler):
    """Answers the first half (HALF) at once and the second when the test says so, or an error."""

    go_on = threading.Event()
    together = threading.Barrier(1)
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.together.wait(30)
        self.send_response(self.status)
        self.send_header("Content-Length", str(2 * HALF))
        self.end_headers()
        self.wfile.write(bytes(HALF))
        self.wfile.flush()
        self.go_on.wait(30)
        self.wfile.write(bytes(HALF))

    def log_message(self, *_: object) -> None:
        pass


class Halves(httpx.SyncByteStream):
    """An answer whose second half is sent PAUSE seconds after whoever reads it has taken the first one."""

    def __init__(self, answer: httpx.SyncByteStream) -> None:
        self.answer = answer

    def __iter__(self) -> Iterator[bytes]:
        taken = 0
        for part in self.answer:
            yield part
            taken += len(part)
            if taken == HALF:
                time.sleep(PAUSE)
                Handler.go_on.set()

    def close(self) -> None:
        self.answer.close()


def in_halves(response: httpx.Response) -> None:
    assert isinstance(response.stream, httpx.SyncByteStream)
    response.stream = Halves(response.stream)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Handler, "go_on", threading.Event())
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Handler.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, trust_env=False) as client:
        yield client


def test_the_first_byte_does_not_wait_for_the_last(url: str, client: httpx.Client) -> None:
    client.event_hooks = {"response": [in_halves]}
    (found,) = over_http(client, url, {})(["text"])
    assert found.total_seconds - found.first_byte_ms / 1000 > 0.1
    assert found.seconds == 0.2
    assert found.playback.underruns == 1
    assert (len(found.audio), sum(arrival.size for arrival in found.arrivals)) == (2 * HALF, 2 * HALF)


def test_all_clients_speak_at_the_same_time(url: str, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "together", threading.Barrier(3))  # broken unless three requests are there at once
    Handler.go_on.set()
    found = over_http(client, url, {})(["one", "two", "three"])
    assert [spoken.text for spoken in found] == ["one", "two", "three"]


def test_an_error_is_not_a_measurement(url: str, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "status", 503)
    Handler.go_on.set()
    with pytest.raises(RuntimeError, match="503"):
        over_http(client, url, {})(["text"])


@pytest.mark.e2e
def test_our_service_is_measured(client: httpx.Client) -> None:
    part = Part(BRIEF, 2, (SERVICE, MP3, "not installed"), rounds=2, warm_up=1)
    with tts.served({"TTS_MODEL": "fake", "TTS_ENGINE": "fake"}, client, {}) as sides, Progress(disable=True) as bar:
        supply = Supply()
        pcm, mp3 = tts.measure("fake", part, sides, supply, bar)
        (later,) = tts.measure("fake", dataclasses.replace(part, sides=(SERVICE,)), sides, supply, bar)
    assert [cell.side for cell in (pcm, mp3)] == [SERVICE, MP3]
    for cell in (pcm, mp3):
        assert [len(spoken) for spoken in cell.rounds] == [2, 2]
        # Round 0 was the warm-up, so the first text that counts is the third.
        assert [spoken.text for spoken in cell.answers] == list(BRIEF.texts[2:6])
        assert all(0 < spoken.first_byte_ms <= spoken.total_seconds * 1000 for spoken in cell.answers)
    # The next part goes on in the list: this process has not spoken these.
    assert [spoken.text for spoken in later.answers] == list(BRIEF.texts[8:12])
    # A character of the fake engine's words is 0.06 s, a gap between words 0.05 s; silence may be trimmed off.
    assert all(1.0 < spoken.seconds < 2.0 for spoken in pcm.answers)
    assert np.abs(np.frombuffer(pcm.answers[0].audio, "<i2")).max() > 1000
    assert 0 < pcm.rtf < 10


@needs_piper
@pytest.mark.e2e
def test_piper_alone_is_measured(model_dir: Callable[[str], Path]) -> None:
    model = next(model_dir("piper-en_US-joe-medium").glob("*.onnx"))
    with bare({"library": "piper-tts", "model": str(model), "threads": 1}) as calling:
        found = calling("synthesize")(["One. Two. Three.", "Four."])
    assert [len(spoken.arrivals) for spoken in found] == [3, 1]  # a sentence at a time
    assert found[0].first_byte_ms < found[0].total_seconds * 1000
    assert 0.5 < found[0].seconds < 5


@pytest.mark.e2e
def test_kokoro_alone_is_measured(model_dir: Callable[[str], Path], tmp_path: Path) -> None:
    folder = model_dir("kokoro-82m-int8")
    voices = write_voices(folder / "voices", tts.VOICE, tmp_path / "voices.npz")
    config = {"library": "kokoro-onnx", "model": str(folder / "model.onnx"), "voices": str(voices), "voice": tts.VOICE}
    with bare({**config, "threads": 1}) as calling:
        (streamed,) = calling("create_stream")(["Hello there."])
        (whole,) = calling("create")(["Hello there."])
    assert streamed.seconds == pytest.approx(whole.seconds, abs=0.1)
    assert 0.3 < whole.seconds < 3


@needs_piper
@pytest.mark.e2e
def test_a_library_that_fails_ends_the_measurement(model_dir: Callable[[str], Path]) -> None:
    model = next(model_dir("piper-en_US-joe-medium").glob("*.onnx"))
    with (
        bare({"library": "piper-tts", "model": str(model), "threads": 1}) as calling,
        pytest.raises(RuntimeError, match="piper-tts ended"),
    ):
        calling("synthesize")([None])  # type: ignore[list-item]


@pytest.mark.e2e
def test_fastkokoro_speaks_with_our_weights(
    model_dir: Callable[[str], Path], tmp_path: Path, client: httpx.Client
) -> None:
    if environments.program("fastkokoro") is None:
        pytest.skip("fastkokoro is not installed: make bench-env")
    folder = model_dir("kokoro-82m-int8")
    voices = write_voices(folder / "voices", tts.VOICE, tmp_path / "voices.npz")
    with fastkokoro(folder / "model.onnx", voices, threads=1, settings={}) as url:
        body = {"model": "kokoro", "voice": tts.VOICE, "response_format": "pcm", "stream": True}
        (found,) = over_http(client, url, body)(["Hello there."])
    assert 0.3 < found.seconds < 3


def test_a_peer_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match="make bench-env"), fastkokoro(tmp_path, tmp_path, threads=1, settings={}):
        pass


def test_a_voice_is_written_for_other_programs(tmp_path: Path) -> None:
    style = np.arange(2 * 256, dtype="<f4")
    style.tofile(tmp_path / "af_heart.bin")
    with np.load(write_voices(tmp_path, "af_heart", tmp_path / "voices.npz")) as voices:
        assert list(voices) == ["af_heart"]
        assert voices["af_heart"].shape == (2, 1, 256)
        assert np.array_equal(voices["af_heart"].ravel(), style)


def test_a_length_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARACTERS", "25,17")
    with pytest.raises(ValueError, match=r"\[17\]"):
        tts.planned(KOKORO)
