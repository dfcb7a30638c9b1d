"""Memory and processor time of a service's processes, read from /proc: now, and while something runs."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
READINGS_PER_SECOND = 5.0
SECONDS_PER_SAMPLE = 5.0
_FORGET_PEAK = "5"
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMES = slice(11, 15)
"""utime, stime, cutime and cstime among the fields after the name; the last two are those of ended children."""
_FIELD = re.compile(r"^(VmHWM|VmRSS):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of one process in MB (a million bytes): now, and the kernel's record of its highest."""

    rss: float
    peak: float


def tree(pid: int) -> list[int]:
    """Return the process and all below it."""
    children = defaultdict(list)
    for stat in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
            children[int(parent)].append(int(stat.parent.name))
    found = [pid]
    for one in found:  # grows while it is walked
        found += children[one]
    return found


def role(pid: int) -> str:
    """Return what a process of a service is: api, worker or ffmpeg; OSError when it is gone."""
    arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    if b"voice_stack.worker" in arguments:
        return "worker"
    return "ffmpeg" if b"ffmpeg" in Path(arguments[0].decode(errors="replace")).name.encode() else "api"


def memory(pid: int) -> Memory:
    """Return the memory of a process; OSError when it is gone."""
    found = dict(_FIELD.findall((PROC / str(pid) / "status").read_text(encoding="utf-8")))
    if len(found) != 2:  # a process that has ended and was not waited for has none
        raise ProcessLookupError(pid)
    return Memory(*(int(found[name]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")))


def now(pid: int) -> dict[str, float]:
    """Return the resident memory of a service in MB by role; of several processes of a role, the largest."""
    found: dict[str, float] = {}
    for one in tree(pid):
        with suppress(OSError):
            found[role(one)] = max(found.get(role(one), 0.0), memory(one).rss)
    return found


@dataclass
class Watch:
    """What `watching` saw by role, in MB: the highest resident memory, and the highest of every 5 seconds."""

    peaks: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def add(self, what: str, found: Memory) -> None:
        """Take in one reading of a process."""
        self.peaks[what] = max(self.peaks.get(what, 0.0), found.rss, found.peak)
        series = self.samples.setdefault(what, [])
        place = int((time.monotonic() - self.started) / SECONDS_PER_SAMPLE)
        series += [0.0] * (place + 1 - len(series))
        series[place] = max(series[place], round(found.rss, 1))


@contextmanager
def watching(pid: int) -> Iterator[Watch]:
    """Read the processes of a service five times a second.

    A peak is the kernel's own, which misses nothing between two samples of a process that lives that long.
    """
    watch, stop = Watch(), threading.Event()
    for one in tree(pid):
        with suppress(OSError):  # not allowed everywhere; peaks are then those of the whole life
            (PROC / str(one) / "clear_refs").write_text(_FORGET_PEAK, encoding="ascii")
    sampler = threading.Thread(target=_sample, args=(pid, watch, stop))
    sampler.start()
    try:
        yield watch
    finally:
        stop.set()
        sampler.join()


def _sample(pid: int, watch: Watch, stop: threading.Event) -> None:
    while not stop.wait(1 / READINGS_PER_SECOND):
        for one in tree(pid):
            with suppress(OSError):
                what, found = role(one), memory(one)
                watch.add(what, found)


def total_rss(pid: int) -> float:
    """Return the resident memory of a process and all below it in MB; pages they share count more than once."""
    total = 0.0
    for one in tree(pid):
        with suppress(OSError):
            total += memory(one).rss
    return total


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and all below it have used, those that have ended included."""
    total = 0.0
    for one in tree(pid):
        with suppress(OSError):
            stat = (PROC / str(one) / "stat").read_text(encoding="utf-8", errors="replace")
            total += sum(map(int, stat.rpartition(")")[2].split()[_TIMES])) / _TICKS
    return total


@dataclass
class Usage:
    """What `using` saw of a process and all below it: seconds of processor time, and the highest memory in MB."""

    cpu_seconds: float = 0.0
    peak_rss: float = 0.0


@contextmanager
def using(pid: int, *, readings_per_second: float) -> Iterator[Usage]:
    """Watch a process and all below it. Each reading costs milliseconds, so few of them where speed is measured."""
    usage, stop = Usage(), threading.Event()

    def read() -> None:
        while True:
            usage.peak_rss = max(usage.peak_rss, total_rss(pid))
            if stop.wait(1 / readings_per_second):
                return

    before = cpu_seconds(pid)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield usage
    finally:
        usage.cpu_seconds = cpu_seconds(pid) - before
        stop.set()
        reader.join()
