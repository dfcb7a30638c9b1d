"""Long jobs over HTTP with the fake engine: submitted, followed, fetched, cancelled, called back."""

from __future__ import annotations

import io
import json
import threading
import time
import wave
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pysrt
import pytest

pytestmark = pytest.mark.e2e
JOBS = "/v1/audio/jobs"
ENDED = {"completed", "failed", "cancelled"}
# A chunk of 60 seconds takes 1.2 seconds.
SLOW = {"ASR_ENGINE_OPTIONS__DELAY": "0.02"}


def sound(seconds: float = 5.0, seed: int = 0) -> bytes:
    """A WAV of noise."""
    samples = np.random.default_rng(seed).normal(0, 3000, int(seconds * 16_000)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples.tobytes())
    return file.getvalue()


@pytest.fixture(scope="session")
def service(start_service: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    state = tmp_path_factory.mktemp("state")
    env = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "JOB_CALLBACK_HOSTS": "127.0.0.1", "LOG_LEVEL": "WARNING", **SLOW}
    started = start_service("asr", {**env, "VOICE_STACK_STATE": str(state)})
    started.jobs = state / "jobs"
    return started


@pytest.fixture
def asr(service: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def submit(client: httpx.Client, audio: bytes | None = None, key: str | None = None, **data: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    file = {"file": ("x", sound() if audio is None else audio)}
    answer = client.post(JOBS, files=file, data=data, headers=headers)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def show(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    answer = client.get(f"{JOBS}/{job['id']}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def known(client: httpx.Client) -> list[str]:
    return [job["id"] for job in client.get(JOBS, params={"limit": 100}).json()["data"]]


def when(condition: Callable[[], Any], seconds: float = 60) -> Any:
    waiter = threading.Event()
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        waiter.wait(0.05)
    return value


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    return dict(when(lambda: (now := show(client, job))["status"] in ENDED and now))


def result(client: httpx.Client, job: dict[str, Any], **query: Any) -> httpx.Response:
    return client.get(f"{JOBS}/{job['id']}/result", params=query)


def assert_error(response: httpx.Response, status: int, code: str, param: str | None = None) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error


# --- from the upload to the text


def test_a_job_says_what_the_same_request_would_have_said(asr: httpx.Client) -> None:
    when(lambda: not asr.get(JOBS, params={"status": "queued"}).json()["data"])  # what other tests have left
    job = submit(asr)
    assert job["object"] == "audio.job"
    assert job["status"] == "queued"
    assert (job["queue_position"], job["progress"], job["finished_at"]) == (1, 0.0, None)
    assert abs(job["created_at"] - time.time()) < 60
    done = ended(asr, job)
    assert (done["status"], done["progress"], done["error"], done["queue_position"]) == ("completed", 1.0, None, None)
    assert (done["duration"], done["language"], done["model"]) == (5.0, "en", "fake")
    assert done["created_at"] <= done["started_at"] <= done["finished_at"] < done["expires_at"]
    at_once = asr.post("/v1/audio/transcriptions", files={"file": sound()})
    assert result(asr, job).json() == at_once.json()


def test_the_result_comes_in_any_format(asr: httpx.Client) -> None:
    job = ended(asr, submit(asr, response_format="srt", word_timestamps="true"))
    for name in ("json", "text", "srt", "vtt", "verbose_json", "tsv", "jsonl", "lrc"):
        data = {"response_format": name, "word_timestamps": "true"}
        at_once = asr.post("/v1/audio/transcriptions", files={"file": sound()}, data=data)
        fetched = result(asr, job, response_format=name)
        assert fetched.content == at_once.content
        assert fetched.headers["content-type"] == at_once.headers["content-type"]
    assert result(asr, job).content == result(asr, job, response_format="srt").content
    narrow = result(asr, job, max_line_width=20).text
    assert max(len(line) for cue in pysrt.from_string(narrow) for line in cue.text.split("\n")) <= 20
    plain = result(asr, job, response_format="verbose_json", **{"timestamp_granularities[]": "segment"})
    assert "words" not in plain.json()
    assert_error(result(asr, job, response_format="docx"), 400, "unsupported_format", "response_format")


def test_what_was_not_asked_for_cannot_be_fetched(asr: httpx.Client) -> None:
    job = ended(asr, submit(asr))
    words = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    assert_error(result(asr, job, **words), 400, "invalid_value", "timestamp_granularities")
    assert_error(result(asr, job, response_format="srt", max_line_width=40), 400, "invalid_value", "max_line_width")
    assert_error(result(asr, job, **{"include[]": "logprobs"}), 400, "invalid_value", "include")


def test_long_audio_is_done_in_chunks(service: Any, asr: httpx.Client) -> None:
    job = submit(asr, sound(200), word_timestamps="true")
    seen = {show(asr, job)["progress"]}
    when(lambda: seen.add((now := show(asr, job))["progress"]) or now["status"] in ENDED)
    assert len(seen) >= 4, f"one step a chunk: {seen}"
    segments = result(asr, job, response_format="verbose_json").json()["segments"]
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    edges = [edge for segment in segments for edge in (segment["start"], segment["end"])]
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (0.0, 200.0)
    assert all(words["start"] >= segment["start"] for segment in segments for words in segment["words"][:1])
    # The fake engine's segments are five seconds long, apart from the last of each chunk.
    cuts = [segment["end"] for segment in segments[:-1] if round(segment["end"] - segment["start"], 3) != 5.0]
    assert len(cuts) == 3
    for start, stop in pairwise([0.0, *cuts]):
        assert 45 <= stop - start <= 60
    # The recording goes when the text is there.
    when(lambda: not (service.jobs / job["id"]).exists())


def test_json_bodies_and_raw_bodies_become_jobs_too(asr: httpx.Client) -> None:
    raw = asr.post(JOBS, content=sound(), headers={"Content-Type": "audio/wav"}, params={"response_format": "text"})
    assert raw.status_code == 202, raw.text
    job = ended(asr, raw.json())
    assert result(asr, job).headers["content-type"].startswith("text/plain")
    bare = asr.post(JOBS, content=sound()[44:], headers={"Content-Type": "audio/pcm"})
    assert ended(asr, bare.json())["duration"] == 5.0


@pytest.mark.parametrize(
    ("data", "param"),
    [({"language": "klingon"}, "language"), ({"temperature": "9"}, "temperature"), ({"beam_size": "x"}, "beam_size")],
)
def test_what_is_wrong_is_told_at_once(asr: httpx.Client, data: dict[str, str], param: str) -> None:
    before = known(asr)
    answer = asr.post(JOBS, files={"file": sound()}, data=data)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert known(asr) == before


def test_audio_that_is_none_fails_the_job_as_it_would_fail_a_request(asr: httpx.Client) -> None:
    assert_error(asr.post(JOBS, files={"file": b""}), 400, "invalid_audio", "file")
    job = ended(asr, submit(asr, b"this is not audio" * 100))
    assert job["status"] == "failed"
    assert job["error"]["param"] == "file"
    refused = asr.post("/v1/audio/transcriptions", files={"file": b"this is not audio" * 100})
    assert job["error"] == refused.json()["error"]
    assert_error(result(asr, job), refused.status_code, refused.json()["error"]["code"], "file")


def test_a_chunk_that_ends_its_worker_twice_fails_the_job_and_not_the_service(asr: httpx.Client) -> None:
    job = ended(asr, submit(asr, prompt="fake:crash"))
    assert (job["status"], job["error"]["code"]) == ("failed", "unprocessable_audio")
    assert ended(asr, submit(asr))["status"] == "completed"


# --- one job, whoever asks how often


def test_the_same_key_is_the_same_job(asr: httpx.Client) -> None:
    first = submit(asr, key="one")
    assert submit(asr, key="one")["id"] == first["id"]
    ended(asr, first)
    again = submit(asr, key="one")
    assert (again["id"], again["status"]) == (first["id"], "completed")
    headers = {"Idempotency-Key": "one"}
    other = asr.post(JOBS, files={"file": sound(seed=1)}, headers=headers)
    assert_error(other, 409, "idempotency_conflict")
    other = asr.post(JOBS, files={"file": sound()}, data={"response_format": "srt"}, headers=headers)
    assert_error(other, 409, "idempotency_conflict")
    assert submit(asr, key="two")["id"] != first["id"]
    long = asr.post(JOBS, files={"file": sound()}, headers={"Idempotency-Key": "x" * 256})
    assert_error(long, 400, "invalid_value", "Idempotency-Key")


@pytest.mark.parametrize("name", ["nope", "job_" + "0" * 32, "..%2f..", "job_" + "0" * 31 + "%00"])
def test_there_is_no_other_job(asr: httpx.Client, name: str) -> None:
    for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", "")):
        assert_error(asr.request(method, f"{JOBS}/{name}{path}"), 404, "not_found")


def test_the_list_has_pages(asr: httpx.Client) -> None:
    made = [submit(asr)["id"] for _ in range(3)]
    page = asr.get(JOBS, params={"limit": 2}).json()
    assert page["object"] == "list"
    assert page["has_more"]
    assert [job["id"] for job in page["data"]] == made[:0:-1]
    assert asr.get(JOBS, params={"limit": 1, "after": made[1]}).json()["data"][0]["id"] == made[0]
    failed = {job["id"] for job in asr.get(JOBS, params={"limit": 100}).json()["data"] if job["status"] == "failed"}
    found = asr.get(JOBS, params={"status": "failed", "limit": 100}).json()["data"]
    assert failed <= {job["id"] for job in found}
    assert all(job["status"] == "failed" for job in found)
    empty = asr.get(f"{JOBS}?status=&limit=&after=").json()
    assert [job["id"] for job in empty["data"]] == [job["id"] for job in asr.get(JOBS).json()["data"]]
    assert_error(asr.get(JOBS, params={"status": "lost"}), 400, "invalid_value", "status")
    assert_error(asr.get(JOBS, params={"limit": 0}), 400, "invalid_value", "limit")
    assert_error(asr.get(JOBS, params={"after": "job_" + "0" * 32}), 400, "invalid_value", "after")


# --- while it runs


def frames(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line == "data: [DONE]":
            yield "DONE", None
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def test_events_tell_the_way_to_the_end(asr: httpx.Client) -> None:
    job = submit(asr, sound(130))
    with asr.stream("GET", f"{JOBS}/{job['id']}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        seen = list(frames(response))
    *steps, (last, end), (done, _) = seen
    assert done == "DONE"
    assert {name for name, _ in steps} == {"audio.job.progress"}
    progress = [event["job"]["progress"] for _, event in steps]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 2
    assert (last, end["type"]) == ("audio.job.completed", "audio.job.completed")
    assert end["job"] == show(asr, job)
    with asr.stream("GET", f"{JOBS}/{job['id']}/events") as response:
        assert [name for name, _ in frames(response)] == ["audio.job.completed", "DONE"]


def test_a_running_job_and_a_waiting_one_are_cancelled(service: Any, asr: httpx.Client) -> None:
    running, waiting = submit(asr, sound(600)), submit(asr, sound(600, seed=1))
    when(lambda: show(asr, running)["status"] == "running")
    assert show(asr, waiting)["queue_position"] == 1
    assert_error(result(asr, running), 409, "job_not_finished")
    for job in (waiting, running):
        answer = asr.delete(f"{JOBS}/{job['id']}")
        assert answer.status_code == 200
        assert answer.json()["status"] == show(asr, job)["status"] == "cancelled"
        assert not (service.jobs / job["id"]).exists()
        assert_error(result(asr, job), 409, "job_not_finished")
        assert result(asr, job).json()["error"]["message"] == "the job was cancelled and has no result"
        assert asr.delete(f"{JOBS}/{job['id']}").json() == show(asr, job)
        with asr.stream("GET", f"{JOBS}/{job['id']}/events") as response:
            assert [name for name, _ in frames(response)] == ["audio.job.cancelled", "DONE"]
    done = ended(asr, submit(asr))
    assert asr.delete(f"{JOBS}/{done['id']}").json() == done, "too late is no error, and costs nobody the text"
    assert result(asr, done).status_code == 200


def test_other_requests_come_in_between_the_chunks(asr: httpx.Client) -> None:
    job = submit(asr, sound(600))
    when(lambda: show(asr, job)["status"] == "running")
    assert asr.post("/v1/audio/transcriptions", files={"file": sound(seed=2)}).status_code == 200
    assert show(asr, job)["status"] == "running"
    asr.delete(f"{JOBS}/{job['id']}")


# --- callbacks


def test_the_end_is_called_back(asr: httpx.Client, listener: Any) -> None:
    url = f"http://127.0.0.1:{listener.port}/done"
    job = submit(asr, callback_url=url)
    assert job["callback"] == {"url": url, "status": None, "attempts": 0}
    when(lambda: show(asr, job)["callback"] == {"url": url, "status": "delivered", "attempts": 1})
    ((path, _, body),) = listener.seen
    told = json.loads(body)
    assert path == "/done"
    assert (told["id"], told["status"]) == (job["id"], "completed")
    assert told["result"] == result(asr, job).json()


def test_a_failure_is_called_back_and_text_is_a_string(asr: httpx.Client, listener: Any) -> None:
    url = f"http://127.0.0.1:{listener.port}/"
    job = submit(asr, b"this is not audio" * 100, callback_url=url)
    when(lambda: listener.seen)
    told = json.loads(listener.seen[0][2])
    assert (told["status"], told["error"], "result" in told) == ("failed", show(asr, job)["error"], False)
    job = submit(asr, callback_url=url, response_format="srt")
    when(lambda: len(listener.seen) == 2)
    assert json.loads(listener.seen[1][2])["result"] == result(asr, job).text


def test_a_callback_is_tried_three_times(asr: httpx.Client, listener: Any) -> None:
    listener.status = 500
    job = submit(asr, callback_url=f"http://127.0.0.1:{listener.port}/")
    when(lambda: (show(asr, job)["callback"] or {})["status"] == "failed")
    assert show(asr, job)["callback"]["attempts"] == len(listener.seen) == 3
    assert show(asr, job)["status"] == "completed"


def test_a_callback_elsewhere_is_refused(asr: httpx.Client) -> None:
    answer = asr.post(JOBS, files={"file": sound()}, data={"callback_url": "http://169.254.169.254/latest"})
    assert_error(answer, 400, "invalid_value", "callback_url")


# --- whose job it is, and how long


@pytest.fixture(scope="session")
def guarded(start_service: Callable[..., Any]) -> Any:
    env = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "API_KEYS": "mine,yours", "JOB_TTL_SECONDS": "3"}
    return start_service("asr", {**env, "ASR_ENGINE_OPTIONS__DELAY": "0.1"})


def test_a_job_belongs_to_its_key(guarded: Any) -> None:
    mine, yours = (
        httpx.Client(base_url=guarded.url, timeout=60, headers={"Authorization": f"Bearer {key}"})
        for key in ("mine", "yours")
    )
    with mine, yours:
        audio = sound(600)  # takes a minute: a job that has ended is soon forgotten
        job, other = submit(mine, audio, key="k"), submit(yours, audio, key="k")
        assert other["id"] != job["id"]
        assert job["id"] in {one["id"] for one in mine.get(JOBS).json()["data"]}
        assert job["id"] not in {one["id"] for one in yours.get(JOBS).json()["data"]}
        for method, path in (("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", "")):
            assert_error(yours.request(method, f"{JOBS}/{job['id']}{path}"), 404, "not_found")
        assert httpx.get(f"{guarded.url}{JOBS}/{job['id']}", timeout=60).status_code == 401
        assert show(mine, job)["status"] in {"queued", "running"}
        for client, theirs in ((yours, other), (mine, job)):
            assert client.delete(f"{JOBS}/{theirs['id']}").json()["status"] == "cancelled"


def test_a_finished_job_is_forgotten_after_its_time(guarded: Any) -> None:
    with httpx.Client(base_url=guarded.url, timeout=60, headers={"x-api-key": "mine"}) as client:
        job = ended(client, submit(client))
        assert job["expires_at"] - job["finished_at"] == 3
        when(lambda: client.get(f"{JOBS}/{job['id']}").status_code == 404)
        assert_error(result(client, job), 404, "not_found")


def test_where_callers_cannot_be_told_apart_nothing_is_listed(start_service: Callable[..., Any]) -> None:
    open_one = start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "ASR_HOST": "0.0.0.0"})
    port = open_one.url.rpartition(":")[2]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        job = submit(client)
        assert_error(client.get(JOBS), 403, "forbidden")
        assert ended(client, job)["status"] == "completed"


def test_nothing_of_a_job_lies_in_the_spool(service: Any, asr: httpx.Client) -> None:
    ended(asr, submit(asr))
    when(lambda: not service.leftovers())
    left: list[Path] = [path for path in service.jobs.iterdir() if path.is_dir()]
    when(lambda: not any(path.exists() for path in left))
