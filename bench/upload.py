"""What big uploads cost the API process: memory for 1 GiB, /livez while four films arrive at once, a refusal in time.

`make bench-upload`; needs no model. Ends with status 1 when a target is missed.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from bench import processes, services

MIB = 1 << 20
BIG_MIB, FILM_MIB, FILMS = 1024, 120, 4
MAX_GROWTH_MIB = 32.0
MAX_LIVEZ_MS = 100.0
MAX_REFUSAL_MS = 50.0
REFUSALS = 21
PROBES_PER_SECOND = 20.0
SETTINGS = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "MAX_AUDIO_SECONDS": "100000"}
_BOUNDARY = "bench-upload"
_HEAD = (f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="audio_file"; filename="audio_file"\r\n\r\n').encode()
_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()


def upload(url: str, mebibytes: int) -> float:
    """Send so many MiB of silence as Bazarr does and return the seconds until the answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=600)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Content-Length": str(len(_HEAD) + mebibytes * MIB + len(_TAIL)),
    }
    started = time.monotonic()
    connection.request("POST", "/asr?output=srt&encode=false", _body(mebibytes), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"the upload was answered with {answer.status}: {text[:200]!r}")
    return time.monotonic() - started


def _body(mebibytes: int) -> Iterator[bytes]:
    yield _HEAD
    block = bytes(MIB)
    for _ in range(mebibytes):
        yield block
    yield _TAIL


@contextmanager
def probing(url: str) -> Iterator[list[float]]:
    """Ask /livez again and again on new connections; the list grows with the milliseconds each took."""
    address, found, stop = urlsplit(url), list[float](), threading.Event()

    def probe() -> None:
        while not stop.wait(1 / PROBES_PER_SECOND):
            started = time.monotonic()
            connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
            connection.request("GET", "/livez")
            connection.getresponse().read()
            connection.close()
            found.append((time.monotonic() - started) * 1000)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def growth(service: services.Service, films: int, mebibytes: int) -> tuple[float, float, float]:
    """Return by how many MiB the API process grew, the slowest /livez in ms, and the seconds it all took."""
    before = processes.memory(service.pid).rss
    started = time.monotonic()
    with (
        processes.watching(service.pid) as watch,
        probing(service.url) as probes,
        ThreadPoolExecutor(films) as pool,
    ):
        list(pool.map(lambda _: upload(service.url, mebibytes), range(films)))
    return (watch.peaks["api"] - before) * 1e6 / MIB, max(probes), time.monotonic() - started


def refusal(url: str) -> float:
    """Return the milliseconds, the median of some, until an upload that is declared too large is refused."""
    address, took = urlsplit(url), list[float]()
    for _ in range(REFUSALS):
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        started = time.monotonic()
        connection.putrequest("POST", "/v1/audio/transcriptions")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}")
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        answer = connection.getresponse()
        if answer.status != http.client.REQUEST_ENTITY_TOO_LARGE:
            raise RuntimeError(f"an upload of 1 TiB was answered with {answer.status}")
        took.append((time.monotonic() - started) * 1000)
        connection.close()
    return statistics.median(took)


def main() -> None:
    """Measure, print the table, and say by the exit status whether the targets are met."""
    shown = Table(title="uploads", title_justify="left")
    for heading in ("upload", "API process grew", "slowest /livez", "took"):
        shown.add_column(heading, justify="right")
    missed = False
    with services.running("asr", SETTINGS) as service:
        upload(service.url, 8)  # the first request of all brings in code
        for films, mebibytes in ((1, BIG_MIB), (FILMS, FILM_MIB)):
            grown, slowest, seconds = growth(service, films, mebibytes)
            missed = missed or grown > MAX_GROWTH_MIB or slowest > MAX_LIVEZ_MS
            shown.add_row(f"{films} x {mebibytes} MiB", f"{grown:.1f} MiB", f"{slowest:.0f} ms", f"{seconds:.1f} s")
        refused = refusal(service.url)
    missed = missed or refused > MAX_REFUSAL_MS
    Console().print(shown, f"targets: at most {MAX_GROWTH_MIB:.0f} MiB and {MAX_LIVEZ_MS:.0f} ms")
    Console().print(f"a declared oversize is refused in {refused:.1f} ms; target: at most {MAX_REFUSAL_MS:.0f} ms")
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
