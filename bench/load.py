"""Whether a service still answers at once while its engine works: both engines kept busy, both event loops probed."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

PROBES_PER_SECOND = 20.0
_TIMEOUT = 120.0
"""Seconds. There are servers that answer nothing while they transcribe."""


def probe_under_load(
    work: Mapping[str, Callable[[], object]], urls: Mapping[str, str], *, seconds: float
) -> dict[str, list[float]]:
    """Repeat every piece of `work` in a thread of its own and meanwhile measure `GET url/livez`, in milliseconds.

    Each probe opens a connection of its own, as an orchestrator's does. Work that fails ends the measurement.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(len(work) + len(urls)) as pool:
        busy = [pool.submit(_repeat, one, stop) for one in work.values()]
        probes = {name: pool.submit(_probe, url, stop) for name, url in urls.items()}
        stop.wait(seconds)
        stop.set()
        for one in busy:
            one.result()
        return {name: probe.result() for name, probe in probes.items()}


def _repeat(work: Callable[[], object], stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            work()
    finally:
        stop.set()


@contextmanager
def probing(url: str | None, path: str = "/livez") -> Iterator[list[float]]:
    """Measure `GET url path` all the while; the list, in milliseconds, is filled on leaving. No url: nothing to ask."""
    found: list[float] = []
    if url is None:
        yield found
        return
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(_probe, url, stop, path)
        try:
            yield found
        finally:
            stop.set()
        found += probe.result()


def _probe(url: str, stop: threading.Event, path: str = "/livez") -> list[float]:
    host = url.removeprefix("http://")
    found: list[float] = []
    due = time.perf_counter()
    while not stop.is_set():
        found.append(_ask(host, path))
        # A stall delays the probes behind it and does not cancel them, or the percentile would not see it.
        due += 1.0 / PROBES_PER_SECOND
        stop.wait(max(due - time.perf_counter(), 0.0))
    return found


def _ask(host: str, path: str) -> float:
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    try:
        started = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        taken = time.perf_counter() - started
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{path} answered {answer.status}")
    return taken * 1000
