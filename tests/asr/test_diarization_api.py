"""Who speaks when over HTTP, with the fake diarizer: speakers take turns every two seconds, and tones are voices."""

from __future__ import annotations

import base64
import io
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from asr.api.diarization_requests import FORMATS, DiarizationRequest, EmbeddingRequest
from core.errors import InvalidRequest, UnsupportedFormat
from utils.forms import Form

pytestmark = pytest.mark.e2e
DIARIZATION = "/v1/audio/diarization"
EMBEDDING = "/v1/audio/speech/embedding"
RATE = 16_000
LOW, HIGH, OTHER = 220.0, 880.0, 1500.0
FAKES = {
    "ASR_MODEL": "fake",
    "ASR_ENGINE": "fake",
    "DIARIZATION_MODEL": "fake-diarizer",
    "DIARIZATION_ENGINE": "fake-diarizer",
}


def wav(*tones: float, seconds: float = 2.0) -> bytes:
    """A WAV of tones of so many Hz, each as long as a turn of the fake; 0 is silence."""
    at = np.arange(round(seconds * RATE)) / RATE
    samples = np.concatenate([0.3 * np.sin(2 * np.pi * hertz * at) for hertz in tones])
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def data_url(sound: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(sound).decode()}"


TALK = wav(LOW, HIGH, LOW, HIGH)


@pytest.fixture(scope="module")
def service(start_service: Any) -> Any:
    return start_service("asr", {**FAKES, "VOICEPRINTS": "on"})


@pytest.fixture(scope="module")
def asr(service: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def post(client: httpx.Client, sound: bytes = TALK, path: str = DIARIZATION, **fields: Any) -> httpx.Response:
    return client.post(path, files={"file": ("talk.wav", sound)}, data=fields)


def diarized(client: httpx.Client, sound: bytes = TALK, **fields: Any) -> dict[str, Any]:
    answer = post(client, sound, **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(answer: httpx.Response, status: int, code: str, param: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error
    assert answer.headers["x-should-retry"] == "false"
    return str(error["message"])


def speakers(answer: dict[str, Any]) -> list[str]:
    return [segment["speaker"] for segment in answer["segments"]]


# --- diarization: answers


def test_json_is_the_default(asr: httpx.Client) -> None:
    answer = post(asr)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-voice-stack-model"] == "fake-diarizer"
    assert answer.json() == {
        "task": "diarize",
        "duration": 8.0,
        "num_speakers": 2,
        "segments": [
            {"id": 0, "speaker": "SPEAKER_00", "label": "0", "start": 0.0, "end": 2.0},
            {"id": 1, "speaker": "SPEAKER_01", "label": "1", "start": 2.0, "end": 4.0},
            {"id": 2, "speaker": "SPEAKER_00", "label": "0", "start": 4.0, "end": 6.0},
            {"id": 3, "speaker": "SPEAKER_01", "label": "1", "start": 6.0, "end": 8.0},
        ],
    }


def test_verbose_json_sums_up(asr: httpx.Client) -> None:
    assert diarized(asr, response_format="verbose_json")["speakers"] == [
        {"id": "SPEAKER_00", "label": "0", "total_speech_duration": 4.0, "segment_count": 2},
        {"id": "SPEAKER_01", "label": "1", "total_speech_duration": 4.0, "segment_count": 2},
    ]


def test_rttm_names_the_file(asr: httpx.Client) -> None:
    answer = asr.post(DIARIZATION, files={"file": ("my talk.wav", wav(LOW, HIGH))}, data={"response_format": "rttm"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.splitlines() == [
        "SPEAKER my_talk 1 0.000 2.000 <NA> <NA> SPEAKER_00 <NA> <NA>",
        "SPEAKER my_talk 1 2.000 2.000 <NA> <NA> SPEAKER_01 <NA> <NA>",
    ]


def test_rttm_of_a_bare_body_has_a_name_too(asr: httpx.Client) -> None:
    answer = asr.post(f"{DIARIZATION}?response_format=rttm", content=TALK, headers={"content-type": "audio/wav"})
    assert answer.text.startswith("SPEAKER audio 1 0.000 ")


def test_where_nobody_speaks_there_is_nobody(asr: httpx.Client) -> None:
    answer = diarized(asr, wav(0, 0), response_format="verbose_json", include_text="true")
    assert (answer["num_speakers"], answer["segments"], answer["speakers"]) == (0, [], [])
    assert post(asr, wav(0, 0), response_format="rttm").text == ""


def test_the_route_has_no_prefix_too(asr: httpx.Client) -> None:
    assert post(asr, path="/audio/diarization").json() == diarized(asr)


def test_a_recording_as_json_is_the_same(asr: httpx.Client) -> None:
    body = {"input_audio": {"data": base64.b64encode(TALK).decode()}, "num_speakers": 2}
    assert asr.post(DIARIZATION, json=body).json() == diarized(asr, num_speakers=2)


def test_nothing_is_left_behind(service: Any, asr: httpx.Client) -> None:
    diarized(asr, include_text="true")
    deadline = time.monotonic() + 10
    while service.leftovers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert service.leftovers() == []


# --- diarization: what it is told


@pytest.mark.parametrize(
    ("fields", "count"),
    [({"num_speakers": 1}, 1), ({"num_speakers": 3}, 3), ({"max_speakers": 1}, 1), ({"min_speakers": 4}, 4)],
)
def test_hints_reach_the_engine(asr: httpx.Client, fields: dict[str, int], count: int) -> None:
    assert diarized(asr, **fields)["num_speakers"] == count


def test_short_turns_are_dropped_and_pauses_closed(asr: httpx.Client) -> None:
    talk = wav(LOW, HIGH, LOW)
    assert diarized(asr, talk, min_duration_on=3)["segments"] == []
    (segment,) = diarized(asr, wav(LOW, 0, LOW), min_duration_off=2.5)["segments"]
    assert (segment["start"], segment["end"]) == (0.0, 6.0)


def test_known_speakers_have_their_names(asr: httpx.Client) -> None:
    fields = {
        "known_speaker_names[]": ["Bob", "Ann"],
        "known_speaker_references[]": [data_url(wav(HIGH)), data_url(wav(LOW))],
    }
    answer = diarized(asr, **fields, response_format="verbose_json")
    assert speakers(answer) == ["Ann", "Bob", "Ann", "Bob"]
    assert [speaker["id"] for speaker in answer["speakers"]] == ["Ann", "Bob"]
    assert [segment["label"] for segment in answer["segments"]] == ["0", "1", "0", "1"]
    assert " Ann " in post(asr, **fields, response_format="rttm").text


def test_who_is_not_heard_names_nobody(asr: httpx.Client) -> None:
    fields = {"known_speaker_names[]": "Eve", "known_speaker_references[]": data_url(wav(OTHER))}
    assert speakers(diarized(asr, **fields)) == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00", "SPEAKER_01"]


def test_registered_people_have_their_names(asr: httpx.Client) -> None:
    registered = asr.post("/v1/voice/register", files={"audio": ("a.wav", wav(HIGH))}, data={"name": "Carla"})
    assert registered.status_code == 200, registered.text
    try:
        assert speakers(diarized(asr, identify_speakers="true"))[:2] == ["SPEAKER_00", "Carla"]
        known = {"known_speaker_names[]": "Bob", "known_speaker_references[]": data_url(wav(HIGH))}
        assert speakers(diarized(asr, identify_speakers="true", **known))[:2] == ["SPEAKER_00", "Bob"]
        assert speakers(diarized(asr))[:2] == ["SPEAKER_00", "SPEAKER_01"]
    finally:
        assert asr.post("/v1/voice/forget", json={"id": registered.json()["id"]}).status_code == 204


def test_turns_have_the_text_of_the_transcript(asr: httpx.Client) -> None:
    transcript = post(asr, path="/v1/audio/transcriptions", response_format="verbose_json").json()
    answer = diarized(asr, include_text="true", language="en")
    texts = [segment["text"] for segment in answer["segments"]]
    assert all(texts)
    assert " ".join(texts).split() == transcript["text"].split()
    assert not any("text" in segment for segment in diarized(asr)["segments"])


# --- diarization: what is refused


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"num_speakers": "0"}, "invalid_value", "num_speakers"),
        ({"num_speakers": "-1"}, "invalid_value", "num_speakers"),
        ({"num_speakers": "1000000000"}, "invalid_value", "num_speakers"),
        ({"num_speakers": "1e9"}, "invalid_value", "num_speakers"),
        ({"num_speakers": "two"}, "invalid_value", "num_speakers"),
        ({"min_speakers": "3", "max_speakers": "2"}, "invalid_value", "min_speakers"),
        ({"num_speakers": "5", "max_speakers": "2"}, "invalid_value", "num_speakers"),
        ({"clustering_threshold": "-0.1"}, "invalid_value", "clustering_threshold"),
        ({"clustering_threshold": "2.1"}, "invalid_value", "clustering_threshold"),
        ({"clustering_threshold": "nan"}, "invalid_value", "clustering_threshold"),
        ({"min_duration_on": "-1"}, "invalid_value", "min_duration_on"),
        ({"min_duration_off": "inf"}, "invalid_value", "min_duration_off"),
        ({"response_format": "srt"}, "unsupported_format", "response_format"),
        ({"include_text": "perhaps"}, "invalid_value", "include_text"),
        ({"language": "klingon"}, "invalid_value", "language"),
        ({"known_speaker_names[]": "Ann"}, "invalid_value", "known_speaker_names"),
        ({"known_speaker_references[]": data_url(wav(LOW))}, "invalid_value", "known_speaker_references"),
    ],
)
def test_fields_that_make_no_sense(asr: httpx.Client, fields: dict[str, str], code: str, param: str) -> None:
    refused(post(asr, **fields), 400, code, param)


@pytest.mark.parametrize(
    "reference",
    [
        data_url(wav(0)),
        data_url(wav(LOW, seconds=0.3)),
        data_url(wav(*[LOW] * 16)),
        "data:audio/wav;base64,bm90IGF1ZGlv",
        "http://example.org/ann.wav",
    ],
    ids=["silent", "too short", "too long", "not audio", "a URL"],
)
def test_references_that_are_none(asr: httpx.Client, reference: str) -> None:
    fields = {"known_speaker_names[]": "Ann", "known_speaker_references[]": reference}
    message = refused(post(asr, **fields), 400, "invalid_audio", "known_speaker_references")
    assert message.startswith("known_speaker_references[0]")
    assert ("URLs are not fetched" in message) == reference.startswith("http")


def test_a_reference_that_is_a_little_too_short_is_told_so(asr: httpx.Client) -> None:
    fields = {"known_speaker_names[]": "Ann", "known_speaker_references[]": data_url(wav(LOW, seconds=0.98))}
    message = refused(post(asr, **fields), 400, "invalid_audio", "known_speaker_references")
    assert "lasts 0.98 s" in message


def test_an_unknown_model(asr: httpx.Client) -> None:
    refused(post(asr, model="no-such-model"), 404, "model_not_found", "model")
    refused(post(asr, path=EMBEDDING, model="no-such-model"), 404, "model_not_found", "model")


def test_what_a_model_cannot_do(asr: httpx.Client) -> None:
    refused(post(asr, model="channels", num_speakers=2), 400, "unsupported_parameter", "num_speakers")
    threshold = post(asr, model="channels", clustering_threshold=0.5)
    refused(threshold, 400, "unsupported_parameter", "clustering_threshold")
    refused(post(asr, path=EMBEDDING, model="channels"), 501, "not_supported", "model")
    refused(post(asr, model="channels", identify_speakers="1"), 501, "not_supported", "identify_speakers")
    known = {"known_speaker_names[]": "Ann", "known_speaker_references[]": data_url(wav(LOW))}
    refused(post(asr, model="channels", **known), 501, "not_supported", "known_speaker_references")


def test_what_a_model_cannot_do_is_told_before_anything_is_decoded(asr: httpx.Client) -> None:
    noise = b"this is not audio at all, only words\n" * 20
    refused(post(asr, noise, EMBEDDING, model="channels"), 501, "not_supported", "model")
    known = {"known_speaker_names[]": "Ann", "known_speaker_references[]": data_url(noise)}
    refused(post(asr, noise, model="channels", **known), 501, "not_supported", "known_speaker_references")


def test_a_recording_that_is_missing_is_told_before_the_model_is_loaded(asr: httpx.Client) -> None:
    answer = asr.post(DIARIZATION, data={"model": "channels", "identify_speakers": "1"}, files={"other": b"x"})
    refused(answer, 400, "missing_required_parameter", "file")


@pytest.mark.parametrize("path", [DIARIZATION, EMBEDDING])
def test_recordings_that_are_none(asr: httpx.Client, path: str) -> None:
    refused(asr.post(path, data={"model": ""}, files={"other": b"x"}), 400, "missing_required_parameter", "file")
    refused(post(asr, b"", path), 400, "invalid_audio", "file")
    error = post(asr, b"this is not audio at all, only words\n" * 20, path).json()["error"]
    assert error["code"] in {"invalid_audio", "unsupported_format"}
    assert error["param"] == "file"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"VOICEPRINTS": "off"}, "voiceprints_disabled"),
        ({"VOICEPRINTS": "on", "ASR_HOST": "0.0.0.0"}, "forbidden"),
    ],
)
def test_people_are_recognised_only_where_that_is_allowed(
    start_service: Any, settings: dict[str, str], code: str
) -> None:
    port = start_service("asr", {**FAKES, **settings}).url.rpartition(":")[2]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        refused(post(client, identify_speakers="true"), 403, code, None)
        assert diarized(client)["num_speakers"] == 2


def test_without_a_model_the_answer_says_how_to_get_one(start_service: Any, tmp_path: Path) -> None:
    url = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "VOICE_STACK_CACHE": str(tmp_path)}).url
    with httpx.Client(base_url=url, timeout=60) as client:
        for path in (DIARIZATION, EMBEDDING):
            message = refused(post(client, path=path), 501, "not_supported", None)
            assert "voice-stack models pull diarization-community1" in message


# --- embeddings


def embedding(client: httpx.Client, sound: bytes) -> tuple[list[float], dict[str, Any]]:
    answer = post(client, sound, EMBEDDING)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-voice-stack-model"] == "fake-diarizer"
    body = answer.json()
    (item,) = body["data"]
    assert (item["object"], item["index"]) == ("embedding", 0)
    return item["embedding"], body


def test_the_vector_of_a_voice_is_a_list_of_one_embedding(asr: httpx.Client) -> None:
    vector, body = embedding(asr, wav(LOW, LOW))
    assert (body["object"], body["model"], body["low_confidence"]) == ("list", "fake-voice", False)
    assert body["usage"] == {"prompt_tokens": 4 * RATE, "total_tokens": 4 * RATE}
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_voices_are_told_by_their_vectors(asr: httpx.Client) -> None:
    one, again, other = (embedding(asr, wav(hertz, hertz))[0] for hertz in (LOW, LOW, HIGH))
    assert one == again
    assert np.dot(one, other) < 0.5


def test_little_speech_is_said_to_be_little(asr: httpx.Client) -> None:
    assert embedding(asr, wav(LOW, seconds=1))[1]["low_confidence"]
    refused(post(asr, wav(0, 0), EMBEDDING), 400, "invalid_audio", "file")


# --- fields


def test_the_fields_of_a_diarization() -> None:
    fields = [
        ("model", "channels"),
        ("num_speakers", ""),
        ("min_speakers", "2"),
        ("max_speakers", "4"),
        ("clustering_threshold", "0.7"),
        ("min_duration_on", "0.3"),
        ("min_duration_off", "0.5"),
        ("response_format", "RTTM"),
        ("include_text", "yes"),
        ("enable_something", "1"),
    ]
    wanted = DiarizationRequest.from_form(Form(fields))
    assert (wanted.model, wanted.response_format, wanted.shows_text) == ("channels", "rttm", False)
    options = wanted.options
    assert (options.num_speakers, options.min_speakers, options.max_speakers) == (None, 2, 4)
    assert (options.threshold, options.min_on, options.min_off) == (0.7, 0.3, 0.5)


@pytest.mark.parametrize("text", ["0", "0.0", "", "  "])
def test_a_threshold_of_zero_is_none(text: str) -> None:
    assert DiarizationRequest.from_form(Form([("clustering_threshold", text)])).options.threshold is None


def test_every_format_is_known_and_text_is_shown_where_there_is_room() -> None:
    for name in FORMATS:
        wanted = DiarizationRequest.from_form(Form([("response_format", name), ("include_text", "1")]))
        assert wanted.shows_text == (name != "rttm")
    with pytest.raises(UnsupportedFormat, match="json, verbose_json, rttm"):
        DiarizationRequest.from_form(Form([("response_format", "vtt")]))


def test_fields_that_are_far_too_long() -> None:
    with pytest.raises(InvalidRequest) as caught:
        EmbeddingRequest.from_form(Form([("model", "x" * 70_000)]))
    assert caught.value.param == "model"
    long = [("known_speaker_names", "Ann"), ("known_speaker_references", "data:audio/wav;base64," + "A" * 70_000)]
    assert len(DiarizationRequest.from_form(Form(long)).known_speaker_references) == 1
