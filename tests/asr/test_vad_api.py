"""Where somebody speaks, over HTTP: as LocalAI's clients ask and as speaches' do."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

pytestmark = pytest.mark.e2e
VAD = "/v1/vad"
TIMESTAMPS = "/v1/audio/speech/timestamps"
RATE = 16_000


@pytest.fixture(scope="module")
def asr(fake_asr: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_asr.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def jfk(speech_data: Path) -> Path:
    return speech_data / "en" / "jfk.wav"


def silence(seconds: float = 2.0) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(bytes(2 * round(seconds * RATE)))
    return file.getvalue()


def spans(client: httpx.Client, sound: bytes, **fields: Any) -> list[dict[str, float]]:
    answer = client.post(VAD, files={"file": ("a", sound)}, data=fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-voice-stack-model"] == "silero-vad"
    return list(answer.json()["segments"])


def stamps(client: httpx.Client, sound: bytes, **fields: Any) -> list[dict[str, int]]:
    answer = client.post(TIMESTAMPS, files={"file": ("a", sound)}, data=fields)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def refused(answer: httpx.Response, status: int, code: str, param: str | None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error
    assert answer.headers["x-should-retry"] == "false"


# --- answers


def test_segments_are_seconds_in_order(asr: httpx.Client, jfk: Path) -> None:
    found = spans(asr, jfk.read_bytes())
    assert len(found) > 1
    edges = [edge for span in found for edge in (span["start"], span["end"])]
    assert edges == sorted(edges)
    assert 0 <= edges[0] < 1
    assert 9 < edges[-1] <= 11
    assert all(set(span) == {"start", "end"} for span in found)


def test_samples_as_numbers_are_the_same_recording(asr: httpx.Client, jfk: Path) -> None:
    samples, rate = soundfile.read(jfk, dtype="float32")
    assert rate == RATE
    body = {"model": "silero-vad", "audio": samples.tolist()}
    found = asr.post(VAD, json=body).json()["segments"]
    wanted = spans(asr, jfk.read_bytes())
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other, abs=0.05)


def test_a_recording_as_base64_is_the_same(asr: httpx.Client, jfk: Path) -> None:
    encoded = base64.b64encode(jfk.read_bytes()).decode()
    wanted = spans(asr, jfk.read_bytes(), threshold=0.6)
    for audio in (encoded, f"data:audio/wav;base64,{encoded}"):
        answer = asr.post(VAD, json={"audio": audio, "threshold": 0.6})
        assert answer.json()["segments"] == wanted
    answer = asr.post(f"{VAD}?threshold=0.6", content=jfk.read_bytes(), headers={"content-type": "audio/wav"})
    assert answer.json()["segments"] == wanted


def test_timestamps_are_milliseconds_with_the_defaults_of_speaches(asr: httpx.Client, jfk: Path) -> None:
    found = stamps(asr, jfk.read_bytes())
    assert found
    assert all(isinstance(edge, int) for span in found for edge in (span["start"], span["end"]))
    wanted = spans(asr, jfk.read_bytes(), threshold=0.75, min_silence_duration_ms=1000, speech_pad_ms=0)
    assert found == [{name: round(at * 1000) for name, at in span.items()} for span in wanted]


def test_options_say_what_is_speech(asr: httpx.Client, jfk: Path) -> None:
    sound = jfk.read_bytes()
    assert len(spans(asr, sound, min_silence_duration_ms=5000)) == 1
    assert spans(asr, sound, min_speech_duration_ms=60_000) == []
    tight, wide = (spans(asr, sound, speech_pad_ms=pad)[0]["start"] for pad in (0, 100))
    assert wide <= tight


def test_long_stretches_are_cut(asr: httpx.Client, jfk: Path) -> None:
    whole = stamps(asr, jfk.read_bytes(), min_silence_duration_ms=5000)
    parts = stamps(asr, jfk.read_bytes(), min_silence_duration_ms=5000, max_speech_duration_s=3)
    assert len(whole) == 1
    assert len(parts) >= 3
    assert (parts[0]["start"], parts[-1]["end"]) == (whole[0]["start"], whole[0]["end"])
    assert [part["end"] for part in parts[:-1]] == [part["start"] for part in parts[1:]]
    assert all(0 < part["end"] - part["start"] <= 3001 for part in parts)
    assert stamps(asr, jfk.read_bytes(), min_silence_duration_ms=5000, max_speech_duration_s="inf") == whole


def test_silence_has_no_segments(asr: httpx.Client) -> None:
    assert spans(asr, silence()) == []
    assert stamps(asr, silence()) == []
    assert asr.post(VAD, json={"audio": [0.0] * RATE}).json() == {"segments": []}


def test_the_routes_have_no_prefix_too(asr: httpx.Client) -> None:
    for path in ("/vad", "/audio/speech/timestamps"):
        assert asr.post(path, files={"file": ("a", silence())}).status_code == 200


@pytest.mark.parametrize("name", ["", "silero-vad", "silero_vad_v5", "Silero-VAD-GGML"])
def test_the_model_has_many_names(asr: httpx.Client, name: str) -> None:
    assert spans(asr, silence(), model=name) == []


# --- what is refused


def test_another_model(asr: httpx.Client) -> None:
    refused(asr.post(VAD, json={"model": "webrtc", "audio": [0.0]}), 404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", "2"),
        ("threshold", "nan"),
        ("min_speech_duration_ms", "-1"),
        ("min_silence_duration_ms", "1e9"),
        ("speech_pad_ms", "60001"),
        ("max_speech_duration_s", "0"),
        ("max_speech_duration_s", "nan"),
    ],
)
@pytest.mark.parametrize("path", [VAD, TIMESTAMPS])
def test_numbers_that_make_no_sense(asr: httpx.Client, path: str, field: str, value: str) -> None:
    answer = asr.post(path, files={"file": ("a", silence())}, data={field: value})
    refused(answer, 400, "invalid_value", field)


@pytest.mark.parametrize("audio", [[None], ["high"], [{}], [[0.1]], [0.1, 7.5]])
def test_arrays_that_hold_no_samples(asr: httpx.Client, audio: Any) -> None:
    answer = asr.post(VAD, content=json.dumps({"audio": audio}), headers={"content-type": "application/json"})
    refused(answer, 400, "invalid_value", "audio")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ('{"audio": []}', "invalid_audio", "audio"),
        ('{"audio": [0.1', "invalid_value", "audio"),
        ('{"audio": [0.1], ', "invalid_value", None),
        ("[0.1, 0.2]", "invalid_value", None),
        ("", "invalid_value", None),
        ("{}", "missing_required_parameter", "file"),
        ('{"audio": "not base64!"}', "invalid_value", "audio"),
        ('{"audio": [0.1], "audio": "UklGRg=="}', "invalid_value", "audio"),
        ('{"audio": [0.1], "file": "UklGRg=="}', "invalid_value", "audio"),
        ('{"audio": [0.1], "audio": [0.2]}', "invalid_value", "audio"),
        ('{"other": {"audio": [0.1]}}', "missing_required_parameter", "file"),
    ],
)
def test_bodies_that_are_none(asr: httpx.Client, body: str, code: str, param: str | None) -> None:
    answer = asr.post(VAD, content=body, headers={"content-type": "application/json"})
    refused(answer, 400, code, param)


def test_recordings_that_are_none(asr: httpx.Client) -> None:
    for path in (VAD, TIMESTAMPS):
        refused(asr.post(path, files={"file": ("a", b"")}), 400, "invalid_audio", "file")
        answer = asr.post(path, content=b"<x/>", headers={"content-type": "text/xml"})
        refused(answer, 415, "unsupported_media_type", None)
