"""An ASR service that has as many requests as it takes, without waiting for clocks: for tests of what comes on top."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from threading import Event
from typing import NamedTuple

import httpx
from anyio.from_thread import start_blocking_portal

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.service import SHORT_CALLS

PATH = "/v1/audio/transcriptions"
# All run at once and take a minute, unless their clients leave: that is seen within half a second.
SETTINGS = {
    "ASR_MODEL": "fake",
    "ASR_ENGINE": "fake",
    "ASR_WORKERS": str(SHORT_CALLS),
    "ASR_MAX_WAITING": "1",
    "ASR_ENGINE_OPTIONS__DELAY": "10",
    "ASR_ENGINE_OPTIONS__SEGMENT_SECONDS": "0.05",
}


class Fillers(NamedTuple):
    """The answers to come of the requests that fill the service."""

    running: list[Future[httpx.Response]]
    waiting: Future[httpx.Response]


def recording(number: int) -> dict[str, tuple[str, bytes, str]]:
    """Return the form file of one of the requests; no two are alike, for equal ones would share one run."""
    samples = (1000 + number).to_bytes(2, "little") * 16_000 * 6
    return {"file": ("a", samples, "audio/pcm")}


def calls(url: str) -> tuple[int, int]:
    """Return how many calls run and wait, whatever the model."""
    workers = httpx.get(f"{url}/health", timeout=30).json()["workers"]
    return sum(each["calls"] for each in workers), sum(each["waiting"] for each in workers)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return once the condition is true."""
    pause, deadline = Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        pause.wait(0.02)


def worker(url: str) -> int:
    """Return the process id of a service's only worker."""
    return int(httpx.get(f"{url}/health", timeout=30).json()["workers"][0]["pid"])


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a worker process from doing anything meanwhile: its calls run, and what it is sent waits in its pipe."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def filled(url: str) -> Iterator[Fillers]:
    """Keep a service full that takes SHORT_CALLS requests and lets one wait; in the end those not done leave."""
    until(lambda: calls(url) == (0, 0))
    client = httpx.AsyncClient(base_url=url, timeout=120, limits=httpx.Limits(max_connections=None))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):

        async def send(number: int) -> httpx.Response:
            # With times, as a stream has them: only requests for the same share a run.
            return await client.post(PATH, files=recording(number), data={"response_format": "verbose_json"})

        sent = [portal.start_task_soon(send, number) for number in range(SHORT_CALLS)]
        try:
            until(lambda: calls(url) == (SHORT_CALLS, 0))
            sent.append(portal.start_task_soon(send, SHORT_CALLS))
            until(lambda: calls(url) == (SHORT_CALLS, 1))
            yield Fillers(sent[:-1], sent[-1])
        finally:
            for each in sent:
                each.cancel()
            wait(sent)
