"""A4: long jobs."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import httpx

from tests.conformance import media
from tests.conformance.checks import envelope, ok, read_srt, refused
from tests.conformance.rows import Table
from tests.conformance.services import KEY
from tests.conformance.target import Target

table = Table()
row = table.row
JOBS = "/v1/audio/jobs"
SUBMIT, LOOK, RESULT = f"POST {JOBS}", f"GET {JOBS}/{{id}}", f"GET {JOBS}/{{id}}/result"
ENDED = {"completed", "failed", "cancelled"}


def submit(client: httpx.Client, audio: bytes, headers: dict[str, str] | None = None, **fields: str) -> dict[str, Any]:
    files = {"file": ("a.wav", audio, "audio/wav")}
    made: dict[str, Any] = ok(client.post(JOBS, files=files, data=fields, headers=headers), 202).json()
    return made


def finished(client: httpx.Client, job: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found: dict[str, Any] = ok(client.get(f"{JOBS}/{job['id']}")).json()
        assert 0 <= found["progress"] <= 1
        if found["status"] in ENDED:
            return found
        time.sleep(0.1)
    raise AssertionError(f"the job did not end: {found}")


@row("A4", "202 with a job, which completes", SUBMIT, LOOK)
def completes(target: Target) -> None:
    job = submit(target.asr, target.speech)
    assert job["object"] == "audio.job"
    assert job["status"] == "queued"
    assert type(job["created_at"]) is int
    done = finished(target.asr, job)
    assert (done["status"], done["progress"], done["id"]) == ("completed", 1, job["id"])


@row("A4", "the result in any format is that of the transcription", SUBMIT, RESULT)
def results(target: Target) -> None:
    job = submit(target.asr, target.speech, response_format="verbose_json")
    assert finished(target.asr, job)["status"] == "completed"
    files = {"file": target.speech}
    for wanted in ("json", "text", "srt", "vtt", "tsv"):
        found = ok(target.asr.get(f"{JOBS}/{job['id']}/result", params={"response_format": wanted}))
        direct = target.asr.post("/v1/audio/transcriptions", files=files, data={"response_format": wanted})
        assert found.headers["content-type"] == direct.headers["content-type"]
        assert found.text.split() == ok(direct).text.split() or wanted == "json"
    assert read_srt(ok(target.asr.get(f"{JOBS}/{job['id']}/result?response_format=srt")).text)
    assert ok(target.asr.get(f"{JOBS}/{job['id']}/result")).json()["segments"], "the format it was submitted with"
    wrong = target.asr.get(f"{JOBS}/{job['id']}/result?response_format=exe")
    refused(wrong, 400, "invalid_value", "response_format")


@row("A4", "events: progress, then one that ends it", SUBMIT, f"GET {JOBS}/{{id}}/events")
def events(target: Target) -> None:
    job = submit(target.asr, target.speech)
    with target.asr.stream("GET", f"{JOBS}/{job['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    last = json.loads(lines[-1].removeprefix("data: "))
    assert "completed" in json.dumps(last), last


@row("A4", "what is wrong is refused before a job exists", SUBMIT)
def wrong_jobs(target: Target) -> None:
    post = target.asr.post
    refused(post(JOBS, data={"model": "x"}), 400, "missing_required_parameter", "file")
    files = {"file": media.tone()}
    refused(post(JOBS, files=files, data={"response_format": "exe"}), 400, "invalid_value", "response_format")
    refused(post(JOBS, files=files, data={"model": "nope"}), 404, "model_not_found", "model")
    error = envelope(post(JOBS, files=files, data={"callback_url": "http://169.254.169.254/latest"}))
    assert error["param"] == "callback_url", error


@row("A4", "unknown jobs are 404", LOOK, RESULT)
def unknown(target: Target) -> None:
    for path in ("", "/result", "/events"):
        refused(target.asr.get(f"{JOBS}/job_nobody{path}"), 404, "not_found")
    refused(target.asr.delete(f"{JOBS}/job_nobody"), 404, "not_found")


@row("A4", "DELETE cancels", SUBMIT, f"DELETE {JOBS}/{{id}}")
def cancel(target: Target) -> None:
    busy = target.special("asr-slow")
    job = submit(busy, media.tone(300, 1001))
    ok(busy.delete(f"{JOBS}/{job['id']}"))
    answer = busy.get(f"{JOBS}/{job['id']}")
    assert answer.status_code == 404 or finished(busy, job)["status"] == "cancelled"
    assert busy.get(f"{JOBS}/{job['id']}/result").status_code in {404, 409, 400}


@row("A4", "a job that waits tells its place", SUBMIT, LOOK)
def places(target: Target) -> None:
    busy = target.special("asr-slow")
    jobs = [submit(busy, media.tone(100, 1010 + each)) for each in range(3)]
    waiting = ok(busy.get(f"{JOBS}/{jobs[2]['id']}")).json()
    try:
        assert waiting["status"] == "queued"
        assert waiting["queue_position"] >= 1
    finally:
        for job in jobs:
            busy.delete(f"{JOBS}/{job['id']}")


@row("A4", "Idempotency-Key: the same job again, 409 for another content", SUBMIT)
def idempotency(target: Target) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = submit(target.asr, media.tone(1, 1021), key)
    second = target.asr.post(JOBS, files={"file": ("a.wav", media.tone(1, 1021), "audio/wav")}, headers=key)
    assert second.is_success
    assert second.json()["id"] == first["id"]
    other = target.asr.post(JOBS, files={"file": ("a.wav", media.tone(1, 1022), "audio/wav")}, headers=key)
    refused(other, 409, "idempotency_conflict")


@row("A4", "broken audio ends in a failed job with its error", SUBMIT, LOOK)
def failed(target: Target) -> None:
    answer = target.asr.post(JOBS, files={"file": b"no audio " * 100})
    if answer.status_code == 400:
        envelope(answer)
        return
    done = finished(target.asr, ok(answer, 202).json())
    assert (done["status"], done["error"]["code"]) == ("failed", "unsupported_format"), done


@row("A4", "a job belongs to the key that submitted it", SUBMIT, LOOK, f"GET {JOBS}")
def owners(target: Target) -> None:
    strict = target.special("asr-strict")
    mine, yours = {"api-key": KEY}, {"api-key": "another-key"}
    job = submit(strict, media.tone(), mine)
    ok(strict.get(f"{JOBS}/{job['id']}", headers=mine))
    refused(strict.get(f"{JOBS}/{job['id']}", headers=yours), 404, "not_found")
    refused(strict.get(f"{JOBS}/{job['id']}"), 401, "invalid_api_key")
    assert job["id"] in [each["id"] for each in ok(strict.get(JOBS, headers=mine)).json()["data"]]
    assert ok(strict.get(JOBS, headers=yours)).json()["data"] == []
