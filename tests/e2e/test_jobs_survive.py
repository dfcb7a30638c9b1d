"""Jobs and the death of processes: what was acknowledged ends, exactly once, with the text it would have had anyway.

KILLS=20 (or `make test-jobs-kill`) kills more often, KILLS_SEED repeats a run.
"""

from __future__ import annotations

import io
import logging
import os
import random
import signal
import sqlite3
import threading
import time
import uuid
import wave
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
KILLS = int(os.environ.get("KILLS", "4"))
SEED = int(os.environ.get("KILLS_SEED", str(random.SystemRandom().randrange(10**6))))
JOBS = "/v1/audio/jobs"
RECORDINGS = 3
# A chunk of 60 seconds takes 0.6 seconds.
ENVIRONMENT = {
    "ASR_MODEL": "fake",
    "ASR_ENGINE": "fake",
    "ASR_ENGINE_OPTIONS__DELAY": "0.01",
    "LOG_LEVEL": "ERROR",
}


def sound(seed: int, seconds: float = 200.0) -> bytes:
    samples = np.random.default_rng(seed).normal(0, 3000, int(seconds * 8000)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class Bench:
    """A service that is killed and started again on the same folder, and what it acknowledged."""

    def __init__(self, start: Callable[..., Any], state: Path) -> None:
        self._start = start
        self._env = {**ENVIRONMENT, "VOICE_STACK_STATE": str(state)}
        self.database = state / "jobs" / "jobs.db"
        self.acknowledged: dict[str, int] = {}
        self.service = start("asr", self._env)

    def another(self) -> Any:
        """A second service on the same folder."""
        return self._start("asr", self._env)

    def restart(self) -> None:
        os.kill(self.service.pid, signal.SIGKILL)
        self.service.process.wait()
        self.service = self.another()

    def kill_worker(self) -> None:
        workers = self.service.children()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)

    def submit(self, recording: int, service: Any = None) -> str:
        url = (service or self.service).url
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        files = {"file": sound(recording)}
        answer = httpx.post(url + JOBS, files=files, headers=headers, timeout=60)
        assert answer.status_code == 202, answer.text
        self.acknowledged[answer.json()["id"]] = recording
        return str(answer.json()["id"])

    def get(self, path: str, **query: str) -> Any:
        answer = httpx.get(f"{self.service.url}{JOBS}/{path}", params=query, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=10)) as connection, connection:
            return connection.execute(query).fetchall()

    def finished_chunks(self) -> int:
        return int(self.rows("SELECT count(*) FROM chunks WHERE segments IS NOT NULL")[0][0])

    def unfinished(self) -> int:
        return int(self.rows("SELECT count(*) FROM jobs WHERE finished_at IS NULL")[0][0])

    def text(self, job_id: str) -> Any:
        """The segments of a finished job, and the rest of its answer."""
        return self.get(f"{job_id}/result", response_format="verbose_json")


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        pause(0.05)


@pytest.fixture
def bench(start_service: Callable[..., Any], tmp_path: Path) -> Iterator[Bench]:
    made = Bench(start_service, tmp_path)
    yield made
    made.service.process.kill()


def count_ends(bench: Bench) -> None:
    """Have the database itself write down every change into a final state."""
    bench.rows("CREATE TABLE ends (job TEXT, status TEXT)")
    bench.rows(
        "CREATE TRIGGER count_ends AFTER UPDATE OF status ON jobs WHEN NEW.status NOT IN ('queued', 'running')"
        " BEGIN INSERT INTO ends VALUES (NEW.id, NEW.status); END"
    )


def test_every_acknowledged_job_ends_once_whatever_is_killed(bench: Bench) -> None:
    chance = random.Random(SEED)
    log.warning("KILLS=%d KILLS_SEED=%d", KILLS, SEED)  # shown when the test fails
    truth = [bench.submit(recording) for recording in range(RECORDINGS)]
    until(lambda: not bench.unfinished())
    expected = [bench.text(job_id) for job_id in truth]
    count_ends(bench)
    bench.acknowledged.clear()
    before = int(bench.rows("SELECT sum(starts) - count(*) FROM chunks")[0][0])
    for _ in range(KILLS):
        while bench.unfinished() < 3:
            bench.submit(chance.randrange(RECORDINGS))
        # A chunk that is hit twice counts as one that kills: not before something else was finished.
        reached = bench.finished_chunks()
        until(lambda reached=reached: bench.finished_chunks() > reached or not bench.unfinished())  # type: ignore[misc]
        pause(chance.uniform(0, 1.0))
        chance.choice([bench.restart, bench.kill_worker])()
    until(lambda: not bench.unfinished())

    jobs = {job_id: bench.get(job_id) for job_id in bench.acknowledged}
    assert {job["status"] for job in jobs.values()} == {"completed"}, [job["error"] for job in jobs.values()]
    ends = bench.rows("SELECT job, status FROM ends")
    assert sorted(ends) == sorted((job_id, "completed") for job_id in bench.acknowledged)
    for job_id, recording in bench.acknowledged.items():
        assert bench.text(job_id) == expected[recording]
    redone = int(bench.rows("SELECT sum(starts) - count(*) FROM chunks")[0][0]) - before
    assert redone <= KILLS, "at most one chunk is done again for each kill"
    until(lambda: not [path for path in bench.database.parent.iterdir() if path.is_dir()])


def test_a_job_is_safe_as_soon_as_it_is_acknowledged(bench: Bench) -> None:
    job_id = bench.submit(0)
    bench.restart()
    until(lambda: not bench.unfinished())
    assert bench.get(job_id)["status"] == "completed"
    assert bench.text(job_id)["duration"] == 200.0


def test_a_graceful_stop_leaves_the_job_for_the_next_start(bench: Bench) -> None:
    job_id = bench.submit(0)
    until(lambda: bench.finished_chunks() > 0)
    with httpx.stream("GET", f"{bench.service.url}{JOBS}/{job_id}/events", timeout=60) as events:
        bench.service.process.terminate()
        told = events.read().decode()
    assert '"code":"draining"' in told, "who follows the job is told to come back"
    # uvicorn stops in good order, then ends by the signal it was sent.
    assert bench.service.process.wait(timeout=30) in {0, -signal.SIGTERM}
    done = bench.finished_chunks()
    assert bench.unfinished() == 1
    bench.service = bench.another()
    assert bench.get(job_id)["progress"] > 0
    until(lambda: not bench.unfinished())
    assert bench.get(job_id)["status"] == "completed"
    chunks = bench.finished_chunks()
    assert chunks > done
    assert int(bench.rows("SELECT sum(starts) FROM chunks")[0][0]) <= chunks + 1, "what was finished is not done again"


def test_of_two_services_on_one_folder_one_works_and_the_other_takes_over(bench: Bench) -> None:
    first, second = bench.service, bench.another()
    ids = [bench.submit(recording, service) for recording, service in enumerate((first, second, second))]
    until(lambda: bench.finished_chunks() > 0)
    for service in (first, second):
        answer = httpx.get(f"{service.url}{JOBS}").json()
        assert {job["id"] for job in answer["data"]} == set(ids), "both know all jobs"
    assert int(bench.rows("SELECT count(*) FROM jobs WHERE status = 'running'")[0][0]) == 1
    cancelled = httpx.delete(f"{second.url}{JOBS}/{ids[2]}").json()
    assert cancelled["status"] == "cancelled"
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    bench.service = second
    until(lambda: not bench.unfinished())
    assert [bench.get(job_id)["status"] for job_id in ids] == ["completed", "completed", "cancelled"]
    redone = int(bench.rows("SELECT sum(starts) - count(*) FROM chunks WHERE segments IS NOT NULL")[0][0])
    assert redone <= 1
