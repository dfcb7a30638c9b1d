"""The bodies in which a recording may come, sent to a real service with the fake engine."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

PATH = "/v1/audio/transcriptions"
FORM = "multipart/form-data; boundary=XX"


def samples(seconds: float = 2.0, rate: int = 16_000) -> bytes:
    tone = 0.3 * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 220 / rate)
    return bytes((tone * 32767).astype("<i2").tobytes())


def wav(seconds: float = 2.0, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples(seconds, rate))
    return file.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def part(head: str, content: bytes) -> bytes:
    return f"--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"


@pytest.fixture(scope="session")
def asr(fake_asr: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_asr.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def said(asr: httpx.Client) -> str:
    """What the service hears in `wav()`."""
    return str(asr.post(PATH, files={"file": ("a.wav", wav())}).json()["text"])


def refused(answer: httpx.Response, status: int, code: str, param: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error
    return str(error["message"])


# --- forms


@pytest.mark.parametrize("name", ["file", "audio", "audio_file", "media"])
def test_the_file_may_have_any_of_its_names(asr: httpx.Client, said: str, name: str) -> None:
    assert asr.post(PATH, files={name: ("a", wav())}).json()["text"] == said


def test_a_part_without_file_name_and_type_is_the_file_by_its_name(asr: httpx.Client, said: str) -> None:
    body = part('name="response_format"', b"text") + part('name="file"', wav()) + b"--XX--\r\n"
    assert asr.post(PATH, content=body, headers={"content-type": FORM}).text == f"{said}\n"


def test_fields_may_follow_the_file_and_a_preamble_go_before(asr: httpx.Client, said: str) -> None:
    body = (
        b"This is a preamble.\r\n" + part('name="file"; filename="a"', wav()) + part('name="response_format"', b"text")
    )
    answer = asr.post(PATH, content=body + b"--XX--\r\n", headers={"content-type": FORM})
    assert answer.text == f"{said}\n"


def test_a_chunked_upload_needs_no_length(asr: httpx.Client, said: str) -> None:
    body = part('name="file"; filename="a"', wav()) + b"--XX--\r\n"
    answer = asr.post(
        PATH, content=(body[at : at + 1000] for at in range(0, len(body), 1000)), headers={"content-type": FORM}
    )
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.json()["text"] == said


def test_an_urlencoded_form_has_no_file(asr: httpx.Client) -> None:
    refused(asr.post(PATH, data={"model": "whisper-1"}), 400, "missing_required_parameter", "file")


def test_a_large_urlencoded_form_is_not_read(asr: httpx.Client) -> None:
    body = b"prompt=" + b"%41" * (1 << 19)
    answer = asr.post(PATH, content=body, headers={"content-type": "application/x-www-form-urlencoded"})
    assert "multipart" in refused(answer, 400, "invalid_value", None)


def test_a_broken_form_is_said_to_be_one_once(asr: httpx.Client) -> None:
    message = refused(
        asr.post(PATH, content=part('name="a"', b"x"), headers={"content-type": FORM}), 400, "invalid_value", None
    )
    assert message.lower().count("multipart") == 1


def test_two_files_are_one_too_many(asr: httpx.Client) -> None:
    files = {"file": ("a", wav()), "audio": ("b", wav())}
    refused(asr.post(PATH, files=files), 400, "invalid_value", "file")


# --- JSON


@pytest.mark.parametrize(
    "audio",
    [
        {"input_audio": {"data": b64(wav()), "format": "wav"}},
        {"input_audio": {"data": f"data:audio/wav;base64,{b64(wav())}"}},
        {"input_audio": b64(wav())},
        {"file": f"data:audio/wav;base64,{b64(wav())}"},
        {"file": b64(wav())},
        {"file": base64.urlsafe_b64encode(wav()).decode().rstrip("=")},
        {"audio": base64.encodebytes(wav()).decode()},
        {"input_audio": {"data": b64(samples()), "format": "pcm16"}},
        {"file": f"data:audio/pcm;rate=16000;base64,{b64(samples())}"},
    ],
)
def test_json_carries_the_audio(asr: httpx.Client, said: str, audio: dict[str, Any]) -> None:
    answer = asr.post(PATH, json={"model": "whisper-1", "unknown": {"a": [None]}, "language": None, **audio})
    assert answer.json()["text"] == said


def test_json_has_the_fields_of_the_form(asr: httpx.Client) -> None:
    fields = {
        "response_format": "verbose_json",
        "temperature": 0.2,
        "timestamp_granularities": ["word", "segment"],
        "keywords": ["Berlin, Germany"],
        "chunking_strategy": {"type": "server_vad", "threshold": 0.4},
        "stream": False,
        "language": "de",
    }
    body = asr.post(PATH, json={"input_audio": {"data": b64(wav())}, **fields}).json()
    assert body["language"] == "german"
    assert body["words"]


def test_json_may_ask_for_a_stream(asr: httpx.Client) -> None:
    answer = asr.post(PATH, json={"file": b64(wav()), "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_value", None),
        (b"[1]", "invalid_value", None),
        (b"\xff", "invalid_value", None),
        (b"", "invalid_value", None),
        (b'{"model": "whisper-1"}', "missing_required_parameter", "file"),
        (b'{"file": ""}', "missing_required_parameter", "file"),
        (b'{"file": "not base64!"}', "invalid_value", "file"),
        (b'{"file": "data:audio/wav,text"}', "invalid_value", "file"),
        (b'{"file": 1}', "invalid_value", "file"),
        (b'{"input_audio": {"format": "wav"}}', "invalid_value", "input_audio"),
        (b'{"input_audio": "AAAA", "language": ["xx", "yy"]}', "invalid_value", "language"),
        (b'{"input_audio": "AAAA", "keywords": [{"a": 1}]}', "invalid_value", "keywords"),
        (json.dumps({str(index): 1 for index in range(1001)}).encode(), "invalid_value", None),
        (b'{"file": "AAAA", "x": ' + b"[" * 400 + b"]" * 400 + b"}", "invalid_value", "x"),
        (b'{"file": "AAAA", "x": [' + b"[]," * 100_000 + b"1]}", "invalid_value", None),
    ],
)
def test_json_that_cannot_be_read_is_refused(asr: httpx.Client, body: bytes, code: str, param: str | None) -> None:
    refused(asr.post(PATH, content=body, headers={"content-type": "application/json"}), 400, code, param)


def test_a_large_recording_does_not_belong_in_json(fake_asr: Any) -> None:
    with httpx.Client(base_url=fake_asr.url, timeout=30) as client:
        body = b'{"file": "' + b"A" * (64 << 20) + b'"}'
        answer = client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert "multipart" in refused(answer, 413, "file_too_large", "file")


# --- the file alone


@pytest.mark.parametrize("kind", ["audio/wav", "audio/x-wav; codecs=1", "video/mp4", "application/octet-stream"])
def test_the_body_may_be_the_file(asr: httpx.Client, said: str, kind: str) -> None:
    query = {"response_format": "text", "language": ""}
    answer = asr.post(PATH, params=query, content=wav(), headers={"content-type": kind})
    assert answer.text == f"{said}\n"


def test_the_query_is_checked_like_any_field(asr: httpx.Client) -> None:
    answer = asr.post(PATH, params={"temperature": "9"}, content=wav(), headers={"content-type": "audio/wav"})
    refused(answer, 400, "invalid_value", "temperature")


def test_an_empty_body_is_an_empty_file(asr: httpx.Client) -> None:
    refused(asr.post(PATH, content=b"", headers={"content-type": "audio/wav"}), 400, "invalid_audio", "file")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "image/png", ""])
def test_another_content_type_is_not_read(asr: httpx.Client, kind: str) -> None:
    refused(asr.post(PATH, content=b"x", headers={"content-type": kind}), 415, "unsupported_media_type", None)


def test_a_field_that_is_no_text_is_named(asr: httpx.Client) -> None:
    body = part('name="prompt"', b"caf\xe9") + part('name="file"; filename="a.wav"', wav()) + b"--XX--\r\n"
    refused(asr.post(PATH, content=body, headers={"content-type": FORM}), 400, "invalid_value", "prompt")


def test_a_track_that_is_not_there_is_named(asr: httpx.Client) -> None:
    answer = asr.post(PATH, files={"file": ("a.wav", wav())}, data={"audio_track": "7"})
    assert "no audio track 7; it has 1" in refused(answer, 400, "invalid_audio", "audio_track")


# --- samples without a header


@pytest.mark.parametrize("kind", ["audio/pcm", "audio/raw", "audio/L16; rate=16000; channels=1"])
def test_bare_samples_by_content_type(asr: httpx.Client, said: str, kind: str) -> None:
    assert asr.post(PATH, content=samples(), headers={"content-type": kind}).json()["text"] == said
    assert asr.post(PATH, files={"file": ("a", samples(), kind)}).json()["text"] == said


def test_bare_samples_by_field_with_a_rate_and_an_odd_byte(asr: httpx.Client, said: str) -> None:
    assert asr.post(PATH, files={"file": ("a", samples() + b"\1")}, data={"format": "pcm"}).json()["text"] == said
    fields = {"format": "pcm", "sample_rate": "8000"}
    usage = asr.post(PATH, files={"file": ("a", samples(3, 8000))}, data=fields).json()["usage"]
    assert usage["seconds"] == 3.0
    answer = asr.post(PATH, content=samples(3, 8000), headers={"content-type": "audio/l16;rate=8000"})
    assert answer.json()["usage"]["seconds"] == 3.0


def test_a_wav_labelled_as_bare_samples_is_a_wav(asr: httpx.Client, said: str) -> None:
    assert asr.post(PATH, content=wav(), headers={"content-type": "audio/pcm"}).json()["text"] == said


def test_a_single_byte_is_no_sample(asr: httpx.Client) -> None:
    refused(asr.post(PATH, content=b"\1", headers={"content-type": "audio/pcm"}), 400, "invalid_audio", "file")


@pytest.mark.parametrize("rate", ["0", "3999", "192001", "fast", "16000.5", "00001600012345", "016000" + "9" * 5000])
def test_a_rate_that_cannot_be_is_refused(asr: httpx.Client, rate: str) -> None:
    answer = asr.post(PATH, params={"sample_rate": rate}, content=samples(), headers={"content-type": "audio/pcm"})
    refused(answer, 400, "invalid_value", "sample_rate")
    answer = asr.post(PATH, content=samples(), headers={"content-type": f"audio/pcm;rate={rate}"})
    refused(answer, 400, "invalid_value", "sample_rate")
