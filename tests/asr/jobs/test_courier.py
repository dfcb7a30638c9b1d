"""Callbacks as they are kept: every try counts, none is made twice, a few are made at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asr.jobs.callbacks import AT_ONCE, Callbacks
from asr.jobs.courier import Courier
from asr.jobs.files import JobFiles
from asr.jobs.job import JobRequest, NewJob
from asr.jobs.store import JobStore
from asr.transcript import TranscribeOptions
from core.errors import InvalidAudio


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(tmp_path / "jobs.db")
    yield made
    made.close()


@pytest.fixture
def url(listener: Any) -> str:
    return f"http://127.0.0.1:{listener.port}/"


def ended(store: JobStore, name: str, url: str) -> str:
    request = JobRequest(options=TranscribeOptions())
    store.add(NewJob(id=name, owner="", model="m", request=request, fingerprint="f", callback_url=url), max_open=99)
    store.fail(name, InvalidAudio("no"))
    return name


def courier(store: JobStore, tmp_path: Path, callbacks: Callbacks | None = None) -> Courier:
    return Courier(store, JobFiles(tmp_path), callbacks or Callbacks(["127.0.0.1"]), ttl=60)


async def test_a_try_counts_whatever_went_wrong(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(host: str, port: int) -> list[str]:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr("asr.jobs.courier.DELAY", 0.0)
    name = ended(store, "a", "http://example.com/")
    await courier(store, tmp_path, Callbacks(["example.com"], lookup=lookup)).tell(name)
    job = store.get(name)
    assert (job.callback_state, job.callback_attempts) == ("failed", 3)


async def test_what_was_delivered_is_not_told_again(store: JobStore, tmp_path: Path, listener: Any, url: str) -> None:
    name, messenger = ended(store, "a", url), courier(store, tmp_path)
    await messenger.tell(name)
    await messenger.tell(name)
    assert len(listener.seen) == 1
    assert store.get(name).callback_attempts == 1
    await messenger.tell("gone")


async def test_a_few_are_told_at_once(store: JobStore, tmp_path: Path, listener: Any, url: str) -> None:
    names = [ended(store, f"job {number}", url) for number in range(3 * AT_ONCE)]
    now = most = 0
    full = asyncio.Event()

    class Counting(Callbacks):
        async def deliver(self, url: str, body: bytes, *, job_id: str) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            if now == AT_ONCE:
                full.set()
            await full.wait()
            await super().deliver(url, body, job_id=job_id)
            now -= 1

    messenger = courier(store, tmp_path, Counting(["127.0.0.1"]))
    async with asyncio.timeout(60):
        await asyncio.gather(*(messenger.tell(name) for name in names))
    assert most == AT_ONCE
    assert sorted(headers["x-job-id"] for _, headers, _ in listener.seen) == sorted(names)
    assert store.callbacks() == []


async def test_a_try_that_cannot_be_written_down_is_not_made_again(
    store: JobStore,
    tmp_path: Path,
    listener: Any,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("asr.jobs.courier.RECORD_SECONDS", 0.0)
    store._database._busy_seconds = 0.05
    name = ended(store, "a", url)
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(courier(store, tmp_path).tell(name))
    while "not recorded yet" not in caplog.text:
        await asyncio.sleep(0.01)
    other.close()
    await task
    assert len(listener.seen) == 1
    assert store.get(name).callback_state == "delivered"
