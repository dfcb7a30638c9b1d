"""Whether a service still answers at once while its engine works: both engines kept busy, both event loops probed."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

PROBES_PER_SECOND = 20.0
_TIMEOUT = 30.0


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


def _probe(url: str, stop: threading.Event) -> list[float]:
    host = url.removeprefix("http://")
    found: list[float] = []
    due = time.perf_counter()
    while not stop.is_set():
        found.append(_livez(host))
        # A stall delays the probes behind it and does not cancel them, or the percentile would not see it.
        due += 1.0 / PROBES_PER_SECOND
        stop.wait(max(due - time.perf_counter(), 0.0))
    return found


def _livez(host: str) -> float:
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT)
    try:
        started = time.perf_counter()
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        taken = time.perf_counter() - started
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"/livez answered {answer.status}")
    return taken * 1000
