"""The TTS service over HTTP with the fake engine: shapes, containers, errors."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest

SPEECH = "/v1/audio/speech"
OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx"),
    *("nova", "sage", "shimmer", "verse", "marin", "cedar"),
)
LONG = "One sentence follows another. " * 40


@pytest.fixture(scope="session")
def tts(fake_tts: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_tts.url, timeout=30) as client:
        yield client


def speak(client: httpx.Client, text: str = "Hello, world!", **more: Any) -> httpx.Response:
    return client.post(SPEECH, json={"input": text, **more})


def assert_error(response: httpx.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    return dict(error)


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    waiter = threading.Event()
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        waiter.wait(0.02)


@pytest.mark.parametrize(
    ("name", "content_type", "magic"),
    [
        ("mp3", "audio/mpeg", b"\xff"),
        ("opus", "audio/ogg; codecs=opus", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF"),
        ("pcm", "audio/pcm;rate=24000;channels=1;bits=16", b""),
    ],
)
def test_formats(tts: httpx.Client, name: str, content_type: str, magic: bytes) -> None:
    answer = speak(tts, response_format=name)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == content_type
    assert answer.content.startswith(magic)
    assert len(answer.content) > 1000
    assert answer.headers["x-request-id"]


def test_mp3_is_the_default_and_extra_fields_are_ignored(tts: httpx.Client) -> None:
    answer = speak(tts, backend="x", voice="", speed=1, consent_attestation="yes")
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["content-disposition"] == "attachment; filename=speech.mp3"


def test_the_sdk_gets_a_stream_of_bytes(fake_tts: Any) -> None:
    client = openai.OpenAI(api_key="x", base_url=f"{fake_tts.url}/v1")
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=LONG, response_format="pcm"
    ) as answer:
        assert len(list(answer.iter_bytes(1024))) > 10


def test_a_wav_that_is_complete_has_true_sizes_and_a_streamed_one_has_placeholders(tts: httpx.Client) -> None:
    for text, more in (("Hello.", {}), (LONG, {"stream": False})):
        whole = speak(tts, text, response_format="wav", **more).content
        with wave.open(io.BytesIO(whole)) as sound:
            assert sound.getnframes() * 2 + 44 == len(whole)
    streamed = speak(tts, LONG, response_format="wav").content
    assert streamed[4:8] == streamed[40:44] == b"\xff\xff\xff\xff"
    assert speak(tts, LONG, stream=False).headers["content-length"]


def test_the_first_bytes_come_before_the_last_piece_is_made(start_service: Any) -> None:
    slow = {"TTS_ENGINE_OPTIONS__DELAY": "3"}  # time enough to ask on a busy machine
    service = start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", **slow})
    with httpx.stream("POST", f"{service.url}{SPEECH}", json={"input": LONG}, timeout=60) as answer:
        next(answer.iter_raw())
        busy = httpx.get(f"{service.url}/health").json()["workers"][0]["calls"]
    assert busy == 1
    eventually(lambda: httpx.get(f"{service.url}/health").json()["workers"][0]["calls"] == 0)


def test_sse_carries_one_stream_and_the_usage(tts: httpx.Client) -> None:
    answer = speak(tts, LONG, stream_format="sse", response_format="pcm")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    frames = [frame for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames.pop() == "data: [DONE]"
    events = [json.loads(frame.split("\ndata: ")[1]) for frame in frames]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert audio == speak(tts, LONG, response_format="pcm").content
    usage = events[-1]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


@pytest.mark.parametrize("speed", [0.25, 0.5, 2, 4.0])
def test_every_speed_scales_the_length(tts: httpx.Client, speed: float) -> None:
    def length(**more: Any) -> int:
        return len(speak(tts, LONG[:300], response_format="pcm", **more).content)

    assert length(speed=speed) * speed == pytest.approx(length(), rel=0.06)


def test_a_sample_rate_is_honoured(tts: httpx.Client) -> None:
    with wave.open(io.BytesIO(speak(tts, response_format="wav", sample_rate=16000).content)) as sound:
        assert sound.getframerate() == 16_000


def test_openais_voices_all_speak(tts: httpx.Client) -> None:
    for name in [
        "alloy",
        "ash",
        "ballad",
        "coral",
        "echo",
        "fable",
        "onyx",
        "nova",
        "sage",
        "shimmer",
        "verse",
        "marin",
        "cedar",
    ]:
        assert speak(tts, voice=name, response_format="pcm").status_code == 200
    assert speak(tts, voice={"id": "alloy"}, response_format="pcm").status_code == 200


def test_voices_are_listed_with_id_and_name(tts: httpx.Client) -> None:
    voices = tts.get("/v1/audio/voices").json()["voices"]
    assert voices
    assert all(voice["id"] and voice["name"] for voice in voices)
    assert tts.get("/v1/audio/voices?legacy=true").json()["voices"] == [voice["id"] for voice in voices]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": ""}, "invalid_value", "input"),
        ({"input": " \n\t "}, "invalid_value", "input"),
        ({"input": "***"}, "invalid_value", "input"),
        ({}, "missing_required_parameter", "input"),
        ({"input": "x" * 50_001}, "string_above_max_length", "input"),
        ({"input": "Hi.", "voice": "nobody"}, "voice_not_found", "voice"),
        ({"input": "Hi.", "voice": "../../etc/passwd"}, "voice_not_found", "voice"),
        ({"input": "Hi.", "response_format": "wma"}, "unsupported_format", "response_format"),
        ({"input": "Hi.", "speed": 0.1}, "invalid_value", "speed"),
        ({"input": "Hi.", "speed": "fast"}, "invalid_value", "speed"),
        ({"input": "Hi.", "sample_rate": 1}, "invalid_value", "sample_rate"),
        ({"input": "Hi.", "stream_format": "x"}, "invalid_value", "stream_format"),
        ({"input": "Hi.", "language": "klingon"}, "invalid_value", "language"),
    ],
)
def test_a_bad_field_is_named(tts: httpx.Client, body: dict[str, Any], code: str, param: str) -> None:
    error = assert_error(tts.post(SPEECH, json=body), 400, code, param)
    assert len(error["message"]) < 600


def test_an_unknown_model_is_a_404(tts: httpx.Client) -> None:
    assert_error(speak(tts, model="nothing"), 404, "model_not_found", "model")


@pytest.mark.parametrize(
    "body",
    [
        b'{"input": "Hi.", "speed": NaN}',
        b'{"input": "Hi.", "speed": 1e999}',
        b'{"input": "\\ud800"}',
        b'{"input": "Hi."',
        b"\xff\xfe",
        b"",
        b"[]",
        b'"Hi."',
        b"7",
        b'{"input": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"input": "Hi.", "seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_json_that_is_none_is_a_400(tts: httpx.Client, body: bytes) -> None:
    answer = tts.post(SPEECH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_a_byte_order_mark_and_a_form_are_fine(tts: httpx.Client) -> None:
    marked = b'\xef\xbb\xbf{"input": "Hi."}'
    assert tts.post(SPEECH, content=marked, headers={"content-type": "application/json"}).status_code == 200
    wide = '{"input": "Hi."}'.encode("utf-16")
    assert tts.post(SPEECH, content=wide, headers={"content-type": "application/json"}).status_code == 200
    assert tts.post(SPEECH, data={"input": "Hi."}).status_code == 200
    assert tts.post(SPEECH, files={"input": (None, "Hi.")}).status_code == 200
    assert tts.post(SPEECH, content=b"Hi.", headers={"content-type": "text/plain"}).status_code == 415


def test_an_engine_that_dies_before_the_first_sound_is_an_ordinary_error(tts: httpx.Client, fake_tts: Any) -> None:
    assert_error(speak(tts, "fake:crash"), 503, "engine_crashed")
    assert speak(tts).status_code == 200
    assert fake_tts.process.poll() is None


def test_an_engine_that_dies_later_breaks_the_connection(tts: httpx.Client, fake_tts: Any) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        speak(tts, LONG + " fake:crash")
    eventually(lambda: speak(tts).status_code == 200)
    assert fake_tts.process.poll() is None


def test_a_listener_who_does_not_read_keeps_nobody_waiting(tts: httpx.Client, fake_tts: Any) -> None:
    with httpx.stream("POST", f"{fake_tts.url}{SPEECH}", json={"input": LONG * 20, "response_format": "wav"}) as slow:
        next(slow.iter_raw())
        assert speak(tts, "Hello.").status_code == 200


def test_a_voice_with_a_name_in_any_script_speaks(start_service: Any, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "Аня_ru.wav"), "wb") as sample:
        sample.setparams((1, 2, 16_000, 0, "NONE", ""))
        sample.writeframes(bytes(range(256)) * 500)
    service = start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", "TTS_VOICE_DIR": str(tmp_path)})
    with httpx.Client(base_url=service.url, timeout=30) as client:
        answer = speak(client, voice="Аня_ru", language="en")
    assert answer.status_code == 200, answer.text
    assert unquote(answer.headers["x-voice-stack-voice"]) == "Аня_ru"


def test_a_listener_who_leaves_stops_the_speech(tts: httpx.Client, fake_tts: Any) -> None:
    with httpx.stream("POST", f"{fake_tts.url}{SPEECH}", json={"input": LONG * 20}, timeout=30) as answer:
        next(answer.iter_raw())
    eventually(lambda: tts.get("/health").json()["workers"][0]["calls"] == 0)
    eventually(lambda: len(fake_tts.children()) == 1)
