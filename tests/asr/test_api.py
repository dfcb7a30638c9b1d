"""The ASR service over HTTP with the fake engine: shapes, errors, and nothing left behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import struct
import subprocess
import threading
import time
import wave
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from utils.audio import ffmpeg
from utils.text.wer import words

TRANSCRIPTIONS = "/v1/audio/transcriptions"


def tone(seconds: float = 2.0, rate: int = 16_000) -> bytes:
    """A WAV of something that is not silence."""
    samples = 0.3 * np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 220 / rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="session")
def asr(fake_asr: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_asr.url, timeout=30) as client:
        yield client


def post(client: httpx.Client, audio: bytes | None = None, path: str = TRANSCRIPTIONS, **data: Any) -> httpx.Response:
    return client.post(path, files={"file": ("x", tone() if audio is None else audio)}, data=data)


def assert_error(response: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert error["message"]
    assert "spool-" not in error["message"], "the place of an upload must not be told"
    if status < 500:
        assert response.headers["x-should-retry"] == "false"
    return dict(error)


def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    waiter = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        waiter.wait(0.02)


# --- answers


def test_json_is_the_default_and_has_openais_shape(asr: httpx.Client) -> None:
    answer = post(asr)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["text"]
    assert body["usage"] == {"type": "duration", "seconds": 2.0}
    assert answer.headers["openai-processing-ms"].isdigit()


@pytest.mark.parametrize("prefix", ["/v1", ""])
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_path_exists_without_the_prefix_and_with_a_slash(asr: httpx.Client, prefix: str, slash: str) -> None:
    assert post(asr, path=f"{prefix}/audio/transcriptions{slash}").status_code == 200
    assert asr.get(f"{prefix}/models{slash}").json()["object"] == "list"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("json", "application/json"),
        ("text", "text/plain; charset=utf-8"),
        ("srt", "text/plain; charset=utf-8"),
        ("vtt", "text/vtt; charset=utf-8"),
        ("verbose_json", "application/json"),
        ("tsv", "text/plain; charset=utf-8"),
        ("jsonl", "application/x-ndjson"),
    ],
)
def test_formats_carry_the_same_text(asr: httpx.Client, name: str, content_type: str) -> None:
    spoken = words(post(asr).json()["text"])
    answer = post(asr, response_format=name)
    assert answer.headers["content-type"] == content_type
    found = words(answer.text)
    position = 0
    for word in spoken:
        position = found.index(word, position) + 1


def test_verbose_has_segments_and_words(asr: httpx.Client) -> None:
    body = post(asr, path=f"{TRANSCRIPTIONS}/verbose").json()
    assert body["task"] == "transcribe"
    assert body["duration"] == 2.0
    assert body["segments"][0]["id"] == 0
    assert "".join(segment["text"] for segment in body["segments"]).strip() == body["text"]
    assert [w["word"] for w in body["words"]] == body["text"].split()


def test_translations_say_that_they_are_translations(asr: httpx.Client) -> None:
    body = post(asr, path="/v1/audio/translations", response_format="verbose_json").json()
    assert body["task"] == "translate"


def test_silence_has_no_text(asr: httpx.Client) -> None:
    silence = tone()[:44] + bytes(64_000)
    assert post(asr, silence).json()["text"] == ""
    assert post(asr, silence, response_format="text").content == b""
    assert post(asr, silence, response_format="vtt").text == "WEBVTT\n\n"


def test_a_stream_says_the_text_in_deltas_and_once_more(fake_asr: Any) -> None:
    client = openai.OpenAI(api_key="x", base_url=f"{fake_asr.url}/v1")
    events = list(client.audio.transcriptions.create(model="whisper-1", file=("a.wav", tone(20)), stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    done = events[-1]
    assert done.type == "transcript.text.done"
    assert len(deltas) > 1
    assert "".join(deltas) == done.text != ""


def test_frames_of_a_stream_have_an_event_line_and_end_with_done(asr: httpx.Client) -> None:
    answer = post(asr, stream="true")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = [frame for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames[-1] == "data: [DONE]"
    for frame in frames[:-1]:
        event, data = frame.split("\n")
        assert event == f"event: {json.loads(data.removeprefix('data: '))['type']}"


def test_the_sdk_reads_every_answer(fake_asr: Any) -> None:
    client = openai.OpenAI(api_key="x", base_url=f"{fake_asr.url}/v1")
    create = client.audio.transcriptions.create
    assert create(model="whisper-1", file=("a.wav", tone())).text
    assert create(model="whisper-1", file=("a.wav", tone()), response_format="text")
    verbose = create(
        model="whisper-1",
        file=("a.wav", tone()),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert verbose.words
    assert verbose.segments
    assert client.models.list().data[0].object == "model"


def test_unknown_fields_are_ignored_and_empty_ones_are_absent(asr: httpx.Client) -> None:
    answer = post(asr, backend="x", temperature="", language="", stream="", response_format="")
    assert answer.status_code == 200
    assert answer.json()["text"]


def test_models_are_listed_and_found_one_by_one(asr: httpx.Client) -> None:
    listed = asr.get("/v1/models").json()["data"]
    assert {"id", "object", "created", "owned_by"} <= set(listed[0])
    one = asr.get(f"/v1/models/{listed[0]['id']}").json()
    assert one == listed[0]
    assert_error(asr.get("/v1/models/org/no:such"), 404, "model_not_found", "model")


def test_health_tells_engine_model_device_and_version(asr: httpx.Client) -> None:
    for path in ("/health", "/healthz", "/healthcheck"):
        body = asr.get(path).json()
        assert body["status"] == "ok"
        assert body["ready"] is True
        assert body["engine"] == "fake"
        assert body["device"] == "cpu"
    assert asr.get("/livez").json() == {"status": "ok"}
    assert asr.get("/readyz").status_code == asr.get("/ready").status_code == 200
    assert asr.get("/v1/readyz").status_code == 404
    assert asr.get("/docs").status_code == 200


# --- bad requests


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


BAD_FILES = {
    "text": b"this is not audio at all, only words\n" * 20,
    "json": b'{"not": "audio"}',
    "png": png(),
    "ffconcat": b"ffconcat version 1.0\nfile 'voices/speaker_en.wav'\n",
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "random": bytes(np.random.default_rng(7).integers(0, 256, 50_000, dtype=np.uint8)),
    "wav without samples": tone()[:44],
}


@pytest.fixture
def nothing_left(fake_asr: Any) -> Iterator[None]:
    """After the test the service has the processes it had before, and no file of a request."""
    before = set(fake_asr.children())
    yield
    eventually(lambda: not fake_asr.leftovers())
    eventually(lambda: set(fake_asr.children()) == before)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_not_audio_is_refused(asr: httpx.Client, name: str) -> None:
    answer = post(asr, BAD_FILES[name])
    assert answer.json()["error"]["code"] in {"invalid_audio", "unsupported_format"}
    assert_error(answer, 400, answer.json()["error"]["code"], "file")


@pytest.mark.usefixtures("nothing_left")
def test_an_empty_file_is_refused(asr: httpx.Client) -> None:
    assert_error(post(asr, b""), 400, "invalid_audio", "file")


@pytest.mark.usefixtures("nothing_left")
def test_a_truncated_m4a_is_refused(asr: httpx.Client, speech_data: Path) -> None:
    whole = (speech_data / "en" / "jfk_441khz.m4a").read_bytes()
    # The index of this file is at its end, so a half is useless.
    assert_error(post(asr, whole[: len(whole) // 2]), 400, "invalid_audio", "file")


@pytest.mark.usefixtures("nothing_left")
def test_a_decompression_bomb_is_refused(start_service: Any, tmp_path: Path) -> None:
    """Two minutes of silence in a file a hundred times smaller than its samples, where ten seconds are allowed."""
    bomb = tmp_path / "bomb.flac"
    make = [ffmpeg.executable(), "-v", "error", "-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono", "-t", "120"]
    subprocess.run([*make, "-frame_size", "65535", str(bomb)], check=True)
    assert bomb.stat().st_size * 100 < 120 * 48_000 * 2
    service = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "MAX_AUDIO_SECONDS": "10"})
    with httpx.Client(base_url=service.url, timeout=30) as client:
        assert_error(post(client, bomb.read_bytes()), 413, "audio_too_long", "file")
    eventually(lambda: not service.leftovers())


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"temperature": "nan"}, "invalid_value", "temperature"),
        ({"temperature": "1e999"}, "invalid_value", "temperature"),
        ({"temperature": "-1"}, "invalid_value", "temperature"),
        ({"temperature": "warm"}, "invalid_value", "temperature"),
        ({"language": "klingon"}, "invalid_value", "language"),
        ({"response_format": "xml"}, "unsupported_format", "response_format"),
        ({"timestamp_granularities[]": "letter"}, "invalid_value", "timestamp_granularities"),
        ({"stream": "maybe"}, "invalid_value", "stream"),
    ],
)
def test_a_bad_field_is_named(asr: httpx.Client, fields: dict[str, str], code: str, param: str) -> None:
    assert_error(post(asr, **fields), 400, code, param)


def test_an_unknown_format_is_answered_with_those_there_are(asr: httpx.Client) -> None:
    assert "srt" in post(asr, response_format="xml").json()["error"]["message"]


@pytest.mark.usefixtures("nothing_left")
def test_an_unknown_model_is_a_404_that_lists_models(asr: httpx.Client) -> None:
    error = assert_error(post(asr, model="no-such-model"), 404, "model_not_found", "model")
    assert "whisper-base" in error["message"]


def test_a_path_from_the_network_is_never_a_model(asr: httpx.Client, tmp_path: Path) -> None:
    assert_error(post(asr, model=str(tmp_path)), 404, "model_not_found", "model")


@pytest.mark.usefixtures("nothing_left")
def test_a_missing_file_is_named(asr: httpx.Client) -> None:
    only_text = asr.post(TRANSCRIPTIONS, files={"model": (None, "whisper-1")})
    assert_error(only_text, 400, "missing_required_parameter", "file")
    as_text = asr.post(TRANSCRIPTIONS, files={"file": (None, "hello")})
    assert_error(as_text, 400, "invalid_value", "file")


@pytest.mark.usefixtures("nothing_left")
def test_malformed_bodies_are_refused(asr: httpx.Client) -> None:
    form = "multipart/form-data; boundary=x"
    for content_type, body, status in [
        ("multipart/form-data", b"", 400),
        (form, b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nhalf", 400),
        (form, b"no boundary here", 400),
        ("text/plain", b"hello", 415),
    ]:
        answer = asr.post(TRANSCRIPTIONS, content=body, headers={"content-type": content_type})
        assert answer.status_code == status, (content_type, answer.text)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_unknown_paths_and_methods_have_the_envelope(asr: httpx.Client) -> None:
    assert_error(asr.get("/nothing/here"), 404, "not_found")
    assert_error(asr.put(TRANSCRIPTIONS), 405, "method_not_allowed")


def test_a_request_id_is_kept_or_replaced(asr: httpx.Client) -> None:
    assert asr.get("/livez", headers={"x-request-id": "abcdefgh-1"}).headers["x-request-id"] == "abcdefgh-1"
    assert asr.get("/livez", headers={"x-request-id": "bad id!"}).headers["x-request-id"].startswith("req_")


# --- accidents


@pytest.fixture(scope="session")
def slow_asr(start_service: Any) -> Any:
    """A service that takes a second for each second of audio."""
    options = {"ASR_ENGINE_OPTIONS__DELAY": "1.0"}
    return start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", **options})


def worker(service: Any) -> dict[str, Any]:
    return dict(httpx.get(f"{service.url}/health", timeout=30).json()["workers"][0])


def test_killing_the_worker_costs_one_request(slow_asr: Any) -> None:
    answers: list[httpx.Response] = []
    with httpx.Client(base_url=slow_asr.url, timeout=60) as client:
        request = threading.Thread(target=lambda: answers.append(post(client, tone(60))))
        request.start()
        eventually(lambda: worker(slow_asr)["calls"] == 1)
        os.kill(worker(slow_asr)["pid"], signal.SIGKILL)
        killed = time.monotonic()
        request.join()
        assert time.monotonic() - killed < 20, "all of it takes a minute"
        assert answers[0].headers["retry-after"] == "2"
        assert_error(answers[0], 503, "engine_crashed")
        assert post(client, tone(0.2)).status_code == 200
    assert slow_asr.process.poll() is None
    eventually(lambda: not slow_asr.leftovers())


async def test_a_client_that_leaves_stops_the_work(slow_asr: Any) -> None:
    async with httpx.AsyncClient(base_url=slow_asr.url, timeout=60) as client:
        asking = asyncio.create_task(client.post(TRANSCRIPTIONS, files={"file": ("x", tone(120))}))
        await asyncio.to_thread(eventually, lambda: worker(slow_asr)["calls"] == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await asyncio.to_thread(eventually, lambda: worker(slow_asr)["calls"] == 0)  # all of it takes two minutes
    await asyncio.to_thread(eventually, lambda: not slow_asr.leftovers())


def test_audio_that_kills_the_engine_twice_is_refused(fake_asr: Any, asr: httpx.Client) -> None:
    audio = tone(1.23)
    assert_error(post(asr, audio, prompt="fake:crash"), 503, "engine_crashed")
    for _ in range(2):
        assert_error(post(asr, audio, prompt="fake:crash"), 400, "unprocessable_audio")
    assert fake_asr.process.poll() is None
    assert post(asr).status_code == 200


def test_a_stream_that_is_refused_is_refused_with_its_status(start_service: Any) -> None:
    service = start_service("asr", {"ASR_MODEL": "whisper-tiny.en", "ASR_PRELOAD": "false"})
    with httpx.Client(base_url=service.url, timeout=30) as client:
        assert_error(post(client, stream="true", task="translate"), 400, "unsupported_task")
