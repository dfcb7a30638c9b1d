"""Transcriptions with speakers over HTTP, with the fake engines: turns of two seconds, voices told by their tones."""

from __future__ import annotations

import base64
import io
import itertools
import json
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pysrt
import pytest
import requests
import webvtt
from openai.types.audio import TranscriptionDiarized, TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent

PATH = "/v1/audio/transcriptions"
FAKES = {
    "ASR_MODEL": "fake",
    "ASR_ENGINE": "fake",
    "DIARIZATION_MODEL": "fake-diarizer",
    "DIARIZATION_ENGINE": "fake-diarizer",
}
RATE = 16_000
LOW, HIGH = 300.0, 900.0


def tones(*hertz: float, seconds: float = 2.0) -> bytes:
    """A WAV in which each tone sounds for so many seconds; 0 is silence."""
    times = np.arange(round(seconds * RATE)) / RATE
    samples = np.concatenate([9000 * np.sin(2 * np.pi * each * times) for each in hertz])
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.rint(samples).astype("<i2").tobytes())
    return file.getvalue()


TALK = tones(LOW, HIGH, LOW, HIGH)
"""The one with the low voice begins, and they take turns."""


def data_url(content: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(content).decode()}"


def known(**voices: float) -> dict[str, list[str]]:
    clips = [data_url(tones(hertz, seconds=2.5)) for hertz in voices.values()]
    return {"known_speaker_names[]": list(voices), "known_speaker_references[]": clips}


@pytest.fixture(scope="session")
def asr(fake_asr: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fake_asr.url, timeout=60) as client:
        yield client


def send(asr: httpx.Client, audio: bytes = TALK, **data: Any) -> httpx.Response:
    return asr.post(PATH, files={"file": ("talk.wav", audio)}, data=data)


def diarized(asr: httpx.Client, audio: bytes = TALK, **data: Any) -> dict[str, Any]:
    answer = send(asr, audio, response_format="diarized_json", **data)
    assert answer.status_code == 200, answer.text
    TranscriptionDiarized.model_validate_json(answer.content, strict=True)
    return dict(answer.json())


def assert_error(answer: httpx.Response, status: int, code: str, param: str | None, says: str = "") -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert says in error["message"]


def who(segment: dict[str, Any], names: str | list[str]) -> str:
    """Whose turn it is in the middle of a segment."""
    return names[int((segment["start"] + segment["end"]) / 2 // 2) % 2]


# --- formats


def test_diarized_json_tells_who_says_what(asr: httpx.Client) -> None:
    answer = diarized(asr)
    segments = answer["segments"]
    assert answer["duration"] == 8.0
    assert [segment["id"] for segment in segments] == [f"seg_{n:03d}" for n in range(1, len(segments) + 1)]
    assert [segment["speaker"] for segment in segments] == [who(segment, "AB") for segment in segments]
    assert {segment["speaker"] for segment in segments} == {"A", "B"}
    assert " ".join(segment["text"] for segment in segments) == send(asr).json()["text"]
    assert all(one["end"] <= other["start"] for one, other in itertools.pairwise(segments))
    lines = answer["text"].splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["A", "B", "A", "B"]
    assert " ".join(line.partition(": ")[2] for line in lines) == send(asr).json()["text"]


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe-diarize", "fake", ""])
def test_any_model_does(asr: httpx.Client, model: str) -> None:
    assert diarized(asr, model=model)["segments"]


def test_verbose_json_labels_segments_and_words(asr: httpx.Client) -> None:
    plain = send(asr, response_format="verbose_json").json()
    answer = send(asr, response_format="verbose_json", diarize="true").json()
    assert answer["text"] == plain["text"]
    labels = ["SPEAKER_00", "SPEAKER_01"]
    assert [each["id"] for each in answer["segments"]] == list(range(len(answer["segments"])))
    assert [each["speaker"] for each in answer["segments"]] == [who(each, labels) for each in answer["segments"]]
    assert "words" not in answer
    assert not any("speaker" in each for each in plain["segments"])
    worded = send(asr, response_format="verbose_json", diarize="true", **{"timestamp_granularities[]": "word"}).json()
    assert [each["word"] for each in worded["words"]] == plain["text"].split()
    assert [each["speaker"] for each in worded["words"]] == [
        each["speaker"] for each in worded["segments"] for _ in each["text"].split()
    ]


def test_subtitles_name_the_speakers(asr: httpx.Client) -> None:
    srt = send(asr, response_format="srt", diarize="true").text
    cues = pysrt.from_string(srt, error_handling=pysrt.SubRipFile.ERROR_RAISE)
    named = [f"[SPEAKER_0{int((cue.start.ordinal + cue.end.ordinal) / 2 // 2000) % 2}] " for cue in cues]
    assert len(cues) >= 4
    assert all(cue.text.startswith(name) for cue, name in zip(cues, named, strict=True))
    captions = webvtt.from_buffer(io.StringIO(send(asr, response_format="vtt", diarize="true").text)).captions
    assert [caption.voice for caption in captions] == [name.strip(" []") for name in named]
    assert "SPEAKER" not in send(asr, response_format="srt").text


def test_other_formats_name_the_speakers(asr: httpx.Client) -> None:
    text = send(asr, response_format="text", diarize="true").text
    turns = ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00", "SPEAKER_01"]
    assert [line.partition(": ")[0] for line in text.splitlines()] == turns
    assert "\t[SPEAKER_01] " in send(asr, response_format="tsv", diarize="true").text
    assert "]SPEAKER_01: " in send(asr, response_format="lrc", diarize="true").text
    lines = send(asr, response_format="jsonl", diarize="true").text.splitlines()
    assert {json.loads(line)["speaker"] for line in lines} == {"SPEAKER_00", "SPEAKER_01"}
    answer = send(asr, diarize="true").json()
    assert answer["text"] == send(asr).json()["text"]
    assert [each["speaker"] for each in answer["segments"]][:2] == ["SPEAKER_00", "SPEAKER_01"]
    assert "segments" not in send(asr).json()


def test_where_nobody_speaks_there_are_no_speakers(asr: httpx.Client) -> None:
    answer = diarized(asr, tones(0, 0))
    assert (answer["text"], answer["segments"]) == ("", [])
    assert send(asr, tones(0), response_format="srt", diarize="true").text == ""


def test_a_translation_has_speakers_too(asr: httpx.Client) -> None:
    data = {"response_format": "verbose_json", "diarize": "true"}
    answer = asr.post("/v1/audio/translations", files={"file": ("a", TALK)}, data=data).json()
    assert answer["task"] == "translate"
    assert {each["speaker"] for each in answer["segments"]} == {"SPEAKER_00", "SPEAKER_01"}


def test_the_sdk_reads_it(fake_asr: Any) -> None:
    client = openai.OpenAI(api_key="x", base_url=f"{fake_asr.url}/v1")
    found = client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize",
        file=("talk.wav", TALK),
        response_format="diarized_json",
        chunking_strategy="auto",
        known_speaker_names=["agent"],
        known_speaker_references=[data_url(tones(HIGH))],
    )
    assert isinstance(found, TranscriptionDiarized)
    assert {segment.speaker for segment in found.segments} == {"A", "agent"}


# --- streams


def stream(asr: httpx.Client, **data: Any) -> list[dict[str, Any]]:
    answer = send(asr, stream="true", **data)
    assert answer.status_code == 200, answer.text
    frames = [frame for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames[-1] == "data: [DONE]"
    return [json.loads(frame.partition("\ndata: ")[2]) for frame in frames[:-1]]


def test_a_stream_of_diarized_json_has_the_same_segments_and_text(asr: httpx.Client) -> None:
    whole = diarized(asr)
    *told, done = stream(asr, response_format="diarized_json")
    deltas, segments = told[::2], told[1::2]
    assert segments == whole["segments"]
    assert [delta["segment_id"] for delta in deltas] == [segment["id"] for segment in segments]
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == whole["text"]
    for delta in deltas:
        TranscriptionTextDeltaEvent.model_validate_json(json.dumps(delta), strict=True)
    TranscriptionTextDoneEvent.model_validate_json(json.dumps(done), strict=True)
    assert [each["speaker"] for each in done["segments"]] == [each["speaker"] for each in segments]


def test_streams_of_other_formats_have_no_events_of_their_own(asr: httpx.Client) -> None:
    for name in ("json", "verbose_json", "srt"):
        *deltas, done = stream(asr, response_format=name, diarize="true")
        assert {event["type"] for event in deltas} == {"transcript.text.delta"}
        assert not any("segment_id" in event for event in deltas)
        assert "".join(event["delta"] for event in deltas) == done["text"] == send(asr).json()["text"]
        assert done["segments"][1]["speaker"] == "SPEAKER_01"
    *deltas, done = stream(asr, response_format="text", diarize="true")
    assert "".join(event["delta"] for event in deltas) == done["text"]
    assert done["text"].startswith("SPEAKER_00: ")


def test_a_silent_stream_is_only_done(asr: httpx.Client) -> None:
    answer = send(asr, tones(0), stream="true", response_format="diarized_json").text
    assert answer.count("event: ") == 1
    assert "event: transcript.text.done" in answer


# --- what is known of the speakers


def test_known_voices_have_their_names(asr: httpx.Client) -> None:
    answer = diarized(asr, **known(customer=HIGH, agent=LOW))
    assert [each["speaker"] for each in answer["segments"]] == [
        who(each, ["agent", "customer"]) for each in answer["segments"]
    ]
    assert answer["text"].startswith("agent: ")
    srt = send(asr, response_format="srt", diarize="true", **known(customer=HIGH)).text
    assert "[customer] " in srt
    assert "[SPEAKER_00] " in srt
    assert "SPEAKER_01" not in srt


def test_unknown_voices_keep_their_letters_apart_from_names(asr: httpx.Client) -> None:
    assert {each["speaker"] for each in diarized(asr, **known(stranger=2000.0))["segments"]} == {"A", "B"}
    # Whoever has the name that is somebody else's letter would be taken for them.
    assert {each["speaker"] for each in diarized(asr, **known(A=HIGH))["segments"]} == {"A", "C"}


def test_counts_are_followed(asr: httpx.Client) -> None:
    assert {each["speaker"] for each in diarized(asr, num_speakers="1")["segments"]} == {"A"}
    assert {each["speaker"] for each in diarized(asr, min_speakers="3")["segments"]} == {"A", "B", "C"}
    assert {each["speaker"] for each in diarized(asr, max_speakers="1")["segments"]} == {"A"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"num_speakers": "0"}, "num_speakers"),
        ({"num_speakers": "-1"}, "num_speakers"),
        ({"num_speakers": "1000000000"}, "num_speakers"),
        ({"num_speakers": "5", "max_speakers": "4"}, "num_speakers"),
        ({"min_speakers": "3", "max_speakers": "2"}, "min_speakers"),
    ],
)
def test_counts_that_make_no_sense_are_refused(asr: httpx.Client, fields: dict[str, str], param: str) -> None:
    assert_error(send(asr, diarize="true", **fields), 400, "invalid_value", param)


def test_a_reference_without_a_voice_is_refused(asr: httpx.Client) -> None:
    fields = known(agent=LOW, ghost=0.0)
    answer = send(asr, response_format="diarized_json", **fields)
    assert_error(answer, 400, "invalid_audio", "known_speaker_references", "known_speaker_references[1]")
    # Without diarization nobody listens to it.
    assert send(asr, **fields).status_code == 200


def test_naming_people_takes_asking_who_speaks(asr: httpx.Client) -> None:
    assert_error(send(asr, identify_speakers="true"), 400, "invalid_value", "identify_speakers", "diarize=true")


def test_nobody_is_identified_where_voiceprints_are_off(asr: httpx.Client) -> None:
    answer = send(asr, response_format="diarized_json", identify_speakers="true")
    assert_error(answer, 403, "voiceprints_disabled", None)


def test_registered_people_are_named(start_service: Any) -> None:
    service = start_service("asr", {**FAKES, "VOICEPRINTS": "on"})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        person = {"name": "Ann", "audio": base64.b64encode(tones(HIGH)).decode()}
        assert client.post("/v1/voice/register", json=person).is_success
        named = diarized(client, identify_speakers="true")["segments"]
        assert {each["speaker"] for each in named} == {"A", "Ann"}
        assert {each["speaker"] for each in diarized(client)["segments"]} == {"A", "B"}
        # Who brings a voice knows better.
        given = diarized(client, identify_speakers="true", **known(Bo=HIGH))["segments"]
        assert {each["speaker"] for each in given} == {"A", "Bo"}


# --- /asr


def ask(url: str, audio: bytes = TALK, **query: str) -> requests.Response:
    params = {"encode": "true", "output": "json", **query}
    return requests.post(f"{url}/asr", params=params, files={"audio_file": ("a.wav", audio)}, timeout=60)


@pytest.mark.parametrize("field", ["diarize", "enable_diarization"])
def test_asr_labels_segments_and_tells_voices(fake_asr: Any, field: str) -> None:
    answer = ask(fake_asr.url, **{field: "true", "return_speaker_embeddings": "true"}).json()
    labels = ["SPEAKER_00", "SPEAKER_01"]
    assert [each["speaker"] for each in answer["segments"]] == [who(each, labels) for each in answer["segments"]]
    low, high = (np.asarray(answer["speaker_embeddings"][label]) for label in labels)
    assert list(answer["speaker_embeddings"]) == labels
    assert np.linalg.norm(low) == pytest.approx(1, abs=1e-3)
    assert low @ high < 0.5
    assert answer["text"] == ask(fake_asr.url).json()["text"]


def test_asr_tells_no_voices_unasked(fake_asr: Any) -> None:
    assert "speaker_embeddings" not in ask(fake_asr.url, diarize="true").json()
    plain = ask(fake_asr.url, return_speaker_embeddings="true").json()
    assert "speaker_embeddings" not in plain
    assert not any("speaker" in each for each in plain["segments"])
    silent = ask(fake_asr.url, tones(0), diarize="true", return_speaker_embeddings="true").json()
    assert silent["speaker_embeddings"] == {}


def test_asr_writes_subtitles_with_speakers(fake_asr: Any) -> None:
    srt = ask(fake_asr.url, diarize="true", output="srt", max_speakers="2").text
    found = pysrt.from_string(srt, error_handling=pysrt.SubRipFile.ERROR_RAISE)
    assert {cue.text.partition("] ")[0] for cue in found} == {"[SPEAKER_00", "[SPEAKER_01"}


# --- what goes wrong


def test_without_a_model_it_is_refused_and_said_how_to_get_one(start_service: Any, tmp_path: Path) -> None:
    service = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "VOICE_STACK_CACHE": str(tmp_path)})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        how = "voice-stack models pull diarization-community1"
        for field, value in (("response_format", "diarized_json"), ("diarize", "true")):
            assert_error(send(client, **{field: value}), 400, "unsupported_format", field, how)
        assert_error(send(client, stream="true", diarize="true"), 400, "unsupported_format", "diarize", how)
        assert client.post("/v1/audio/jobs", files={"file": TALK}, data={"diarize": "true"}).status_code == 400
        answer = ask(service.url, diarize="true")
        assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
        assert how in answer.text
        assert send(client).status_code == 200
        can = client.get("/v1/capabilities").json()
        assert not can["features"]["diarization"]
        assert "diarized_json" not in can["response_formats"]


@pytest.mark.parametrize(
    ("failure", "status", "code"), [("crash", 503, "engine_crashed"), ("out_of_memory", 503, "insufficient_memory")]
)
def test_a_diarizer_that_fails_fails_the_request_at_once(
    start_service: Any, failure: str, status: int, code: str
) -> None:
    """The text alone would take twenty-four seconds."""
    slow = {"ASR_ENGINE_OPTIONS__DELAY": "3", "ASR_ENGINE_OPTIONS__SEGMENT_SECONDS": "0.5"}
    slow |= {"DIARIZATION_ENGINE_OPTIONS__FAIL": failure}
    service = start_service("asr", {**FAKES, **slow})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        began = time.monotonic()
        assert_error(send(client, response_format="diarized_json"), status, code, None)
        assert time.monotonic() - began < 20
        # Other audio: what ends the engine twice is refused.
        other = tones(HIGH, LOW, HIGH, LOW)
        assert_error(send(client, other, response_format="diarized_json", stream="true"), status, code, None)


def test_an_engine_that_knows_no_voices_says_so_by_the_field(start_service: Any) -> None:
    channels = {"DIARIZATION_MODEL": "channels", "DIARIZATION_ENGINE": "channels", "VOICEPRINTS": "on"}
    service = start_service("asr", {**FAKES, **channels})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        answer = send(client, diarize="true", **known(Ann=LOW))
        assert_error(answer, 501, "not_supported", "known_speaker_references", "channels")
        answer = send(client, diarize="true", identify_speakers="true")
        assert_error(answer, 501, "not_supported", "identify_speakers", "channels")


def test_text_and_speakers_are_made_at_the_same_time(start_service: Any) -> None:
    """Each takes four seconds."""
    delays = {"ASR_ENGINE_OPTIONS__DELAY": "0.5", "DIARIZATION_ENGINE_OPTIONS__DELAY": "0.5"}
    service = start_service("asr", {**FAKES, **delays})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        diarized(client, tones(LOW, seconds=0.5))
        began = time.monotonic()
        diarized(client)
        assert 4 <= time.monotonic() - began < 6.5


def test_a_recording_in_a_container_has_speakers(asr: httpx.Client) -> None:
    """One that is decoded, at a rate that is resampled: what the two engines hear begins at the same time."""
    from tests.conformance.media import ffmpeg  # noqa: PLC0415 - it brings PyAV

    flac = ffmpeg("-f", "flac", "-ar", "44100", given=TALK)
    assert [each["speaker"] for each in diarized(asr, flac)["segments"]][:2] == ["A", "B"]
