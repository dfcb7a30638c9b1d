"""Jobs that tell who speaks: found out once, written in any format, and nobody's voice kept."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from asr.diarization.attribution import Attribution, SpeakersAsked
from asr.diarization.engine import DiarizeOptions, Turn
from asr.diarization.known import KnownVoice
from asr.jobs.job import Chunk, JobRequest, NewJob
from asr.jobs.store import JobStore
from asr.transcript import LanguageGuess, TranscribeOptions
from core import errors

JOBS = "/v1/audio/jobs"
RATE = 16_000
LOW, HIGH = 300.0, 900.0


def tones(*hertz: float, seconds: float = 2.0) -> bytes:
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
LONG = tones(*[LOW, HIGH] * 35)
"""Two chunks and a bit."""


def known(name: str, hertz: float) -> dict[str, str]:
    clip = base64.b64encode(tones(hertz)).decode()
    return {"known_speaker_names[]": name, "known_speaker_references[]": f"data:audio/wav;base64,{clip}"}


@pytest.fixture(scope="module")
def asr(start_service: Callable[..., Any]) -> Iterator[httpx.Client]:
    env = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "JOB_CALLBACK_HOSTS": "127.0.0.1"}
    service = start_service("asr", {**env, "DIARIZATION_MODEL": "fake-diarizer", "DIARIZATION_ENGINE": "fake-diarizer"})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def submit(asr: httpx.Client, audio: bytes = TALK, key: str | None = None, **data: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return asr.post(JOBS, files={"file": ("x", audio)}, data=data, headers=headers)


def done(asr: httpx.Client, answer: httpx.Response) -> str:
    """Wait for the job of a submission and return its path."""
    assert answer.status_code == 202, answer.text
    path = f"{JOBS}/{answer.json()['id']}"
    waiter, deadline = threading.Event(), time.monotonic() + 60
    while (job := asr.get(path).json())["status"] not in {"completed", "failed"}:
        assert time.monotonic() < deadline
        waiter.wait(0.05)
    assert job["status"] == "completed", job
    return path


def test_a_job_has_the_answer_of_the_request(asr: httpx.Client) -> None:
    data = {"response_format": "diarized_json", **known("Ann", HIGH)}
    path = done(asr, submit(asr, **data))
    found = asr.get(f"{path}/result").json()
    assert found == asr.post("/v1/audio/transcriptions", files={"file": TALK}, data=data).json()
    assert {segment["speaker"] for segment in found["segments"]} == {"A", "Ann"}


def test_its_speakers_are_in_every_format(asr: httpx.Client) -> None:
    path = done(asr, submit(asr, diarize="true"))
    letters = asr.get(f"{path}/result", params={"response_format": "diarized_json"}).json()["segments"]
    assert {segment["speaker"] for segment in letters} == {"A", "B"}
    srt = asr.get(f"{path}/result", params={"response_format": "srt"}).text
    assert "[SPEAKER_00] " in srt
    assert "[SPEAKER_01] " in srt
    verbose = asr.get(f"{path}/result", params={"response_format": "verbose_json"}).json()
    assert [segment["id"] for segment in verbose["segments"]] == list(range(len(verbose["segments"])))


def test_speakers_are_the_same_in_all_chunks(asr: httpx.Client) -> None:
    path = done(asr, submit(asr, LONG, response_format="diarized_json"))
    found = asr.get(f"{path}/result").json()
    assert found["duration"] == 140.0
    for segment in found["segments"]:
        assert segment["speaker"] == "AB"[int((segment["start"] + segment["end"]) / 2 // 2) % 2], segment


def test_a_job_without_speakers_says_so(asr: httpx.Client) -> None:
    path = done(asr, submit(asr))
    for query in ({"response_format": "diarized_json"}, {"diarize": "true"}):
        answer = asr.get(f"{path}/result", params=query)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == next(iter(query))
    assert asr.get(f"{path}/result").json()["text"]


def test_what_is_wrong_with_its_speakers_is_said_at_once(asr: httpx.Client) -> None:
    assert submit(asr, diarize="true", num_speakers="0").json()["error"]["param"] == "num_speakers"
    answer = submit(asr, diarize="true", **known("Nobody", 0.0))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "known_speaker_references")
    assert submit(asr, diarize="true", identify_speakers="true").status_code == 403


def test_the_same_key_is_for_the_same_voices(asr: httpx.Client) -> None:
    first = submit(asr, key="voices", diarize="true", **known("Ann", HIGH))
    assert submit(asr, key="voices", diarize="true", **known("Ann", HIGH)).json()["id"] == first.json()["id"]
    for other in (known("Ann", LOW), known("Bo", HIGH), {}):
        assert submit(asr, key="voices", diarize="true", **other).json()["error"]["code"] == "idempotency_conflict"


def test_a_callback_tells_who_says_what(asr: httpx.Client, listener: Any) -> None:
    url = f"http://127.0.0.1:{listener.port}/"
    path = done(asr, submit(asr, response_format="diarized_json", callback_url=url))
    waiter, deadline = threading.Event(), time.monotonic() + 30
    while not listener.seen:
        assert time.monotonic() < deadline
        waiter.wait(0.05)
    assert json.loads(listener.seen[0][2])["result"] == asr.get(f"{path}/result").json()


def test_a_recording_that_ends_the_diarizer_each_time_fails_its_job(start_service: Callable[..., Any]) -> None:
    env = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "DIARIZATION_ENGINE_OPTIONS__FAIL": "crash"}
    service = start_service("asr", {**env, "DIARIZATION_MODEL": "fake-diarizer", "DIARIZATION_ENGINE": "fake-diarizer"})
    with httpx.Client(base_url=service.url, timeout=60) as client:
        path = f"{JOBS}/{submit(client, diarize='true').json()['id']}"
        waiter, deadline = threading.Event(), time.monotonic() + 30
        while (job := client.get(path).json())["status"] != "failed":
            assert time.monotonic() < deadline, job
            waiter.wait(0.05)
        assert job["error"]["code"] == "unprocessable_audio"


# --- the database

VECTOR = (0.12345678, -0.87654321)
ASKED = SpeakersAsked(
    model="m",
    options=DiarizeOptions(max_speakers=3),
    known=(KnownVoice(name="Ann", vector=VECTOR, within=0.5),),
    identify=True,
)
FOUND = Attribution(turns=(Turn(0.0, 1.5, 0), Turn(1.5, 2.0, 1)), names={1: "Ann"}, embeddings={0: VECTOR})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(tmp_path / "jobs.db")
    request = JobRequest(options=TranscribeOptions(word_timestamps=True), speakers=ASKED)
    made.add(NewJob(id="a", owner="", model="fake", request=request, fingerprint="f"), max_open=9)
    yield made
    made.close()


def test_what_is_asked_and_found_is_kept(store: JobStore) -> None:
    assert store.get("a").request.speakers == ASKED
    assert store.begin("a")
    store.attributed("a", FOUND)
    request = store.get("a").request
    assert request.speakers == ASKED
    assert request.attribution == Attribution(turns=FOUND.turns, names=FOUND.names)
    store.attributed("nobody", FOUND)


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_an_ended_job_keeps_nobodys_voice(store: JobStore, tmp_path: Path, end: str) -> None:
    assert store.begin("a")
    store.attributed("a", FOUND)
    if end == "cancelled":
        store.cancel("a")
    else:
        store.fail("a", errors.InternalError("no"))
    job = store.get("a")
    assert job.status == end
    assert job.request.speakers is not None
    assert (job.request.speakers.known, job.request.speakers.options) == ((), ASKED.options)
    assert job.request.attribution is not None
    store.close()
    with sqlite3.connect(tmp_path / "jobs.db") as connection:
        (text,) = connection.execute("SELECT request FROM jobs").fetchone()
    assert "0.1234" not in text


@pytest.mark.parametrize("end", ["cancelled", "failed", "completed"])
def test_an_ended_job_leaves_nobodys_voice_in_the_files(store: JobStore, tmp_path: Path, end: str) -> None:
    """Not in the log of the database either, while that is open."""
    voice = KnownVoice(name="Ann", vector=VECTOR * 200, within=0.5)
    asked = replace(ASKED, known=(voice,))
    request = JobRequest(options=TranscribeOptions(), speakers=asked)
    store.add(NewJob(id="b", owner="", model="fake", request=request, fingerprint="f"), max_open=9)
    store.cancel("a")

    def traces() -> list[str]:
        return [path.name for path in tmp_path.iterdir() if b"0.1234567" in path.read_bytes()]

    assert store.begin("b")
    assert traces()
    if end == "cancelled":
        store.cancel("b")
    elif end == "failed":
        store.fail("b", errors.InternalError("no"))
    else:
        store.attributed("b", FOUND)
        assert store.begin_chunk("b", Chunk(number=0, start=0, stop=9))
        assert store.finish_chunk("b", 0, (), LanguageGuess(None))
        store.complete("b")
    assert store.get("b").status == end
    assert traces() == []


def test_traces_that_a_reader_kept_go_when_the_log_is_emptied_again(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._database, "_busy_seconds", 0.1)
    store.close()

    def traces() -> list[str]:
        return [path.name for path in tmp_path.iterdir() if b"0.1234567" in path.read_bytes()]

    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert "0.1234567" in reader.execute("SELECT request FROM jobs").fetchone()[0]
        store.cancel("a")
        assert traces()
        assert not store.scrub()
        reader.execute("COMMIT")
    assert store.scrub()
    assert traces() == []


def test_a_request_of_an_earlier_version_is_read(store: JobStore, tmp_path: Path) -> None:
    """One that knew of no speakers."""
    store.close()
    with sqlite3.connect(tmp_path / "jobs.db") as connection:
        connection.execute("UPDATE jobs SET request = json_remove(request, '$.speakers', '$.attribution')")
    request = store.get("a").request
    assert (request.speakers, request.attribution) == (None, None)
    store.cancel("a")
    assert store.get("a").status == "cancelled"
