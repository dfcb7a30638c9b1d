"""What is measured side by side: one interface for our service, the bare library and other programs."""

from __future__ import annotations

import math
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench import processes
from bench.load import probing
from bench.results import Row
from bench.samples import percentile
from bench.speech import Clip

READINGS_PER_SECOND = 2.0
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of one clip: seconds until the answer, and the text; None for an error."""

    clip: Clip
    seconds: float
    text: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """Clips that one side transcribed in one go, in the order of the clips.

    `seconds` is the wall time of them all, `health_ms` what its health endpoint took meanwhile.
    """

    heard: tuple[Heard, ...]
    seconds: float
    cpu_seconds: float
    peak_rss: float
    health_ms: tuple[float, ...] = ()

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio that were answered."""
        return sum(one.clip.seconds for one in self.heard if one.text is not None)

    @property
    def throughput(self) -> float:
        """Seconds of audio per second."""
        return self.audio_seconds / self.seconds

    @property
    def errors(self) -> int:
        """Clips that were not answered with a text."""
        return sum(one.text is None for one in self.heard)

    @property
    def empty(self) -> list[str]:
        """The names of clips with words in them that came back without any."""
        return [one.clip.path.name for one in self.heard if one.clip.text and one.text is not None and not one.text]


Runs = dict[str, list[Run]]
"""The rounds of each side, by its name."""


class Side(ABC):
    """Something that transcribes: its name in the tables, and the options it was told beyond the common settings."""

    name: str
    options: str = ""

    @abstractmethod
    def run(self, clips: Sequence[Clip], *, concurrency: int) -> Run:
        """Transcribe the clips once each, so many at a time: each client sends its next as soon as it has an answer."""


@dataclass
class Resident(Side):
    """A side that stays loaded, in the process `pid` and those below it."""

    name: str
    pid: int
    options: str = ""
    health: tuple[str, str] | None = None
    """Address and path of the health endpoint."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @abstractmethod
    def transcribe(self, clip: Clip) -> str:
        """Return the text; from several threads at a time. Whatever it raises counts as an error of that clip."""

    def run(self, clips: Sequence[Clip], *, concurrency: int) -> Run:
        """Transcribe the clips."""
        url, path = self.health or (None, "")
        with (
            processes.using(self.pid, readings_per_second=READINGS_PER_SECOND) as usage,
            probing(url, path) as health,
            ThreadPoolExecutor(concurrency) as clients,
        ):
            started = time.perf_counter()
            heard = tuple(clients.map(self._heard, clips))
            seconds = time.perf_counter() - started
        return Run(heard, seconds, usage.cpu_seconds, usage.peak_rss, tuple(health))

    def _heard(self, clip: Clip) -> Heard:
        started = time.perf_counter()
        try:
            text: str | None = self.transcribe(clip).strip()
        except Exception as error:  # noqa: BLE001 - of any program that is measured; it is counted and shown
            print(f"{self.name}, {clip.path.name}: {error}")
            text = None
        return Heard(clip, time.perf_counter() - started, text)


def row(cell: str, side: Side, runs: Sequence[Run], *, concurrency: int, wer: float | None) -> Row:
    """Return the columns of a cell: medians of the rounds, percentiles of all their answers."""
    answered = [one.seconds for run in runs for one in run.heard if one.text is not None]
    health = [taken for run in runs for taken in run.health_ms]
    audio = sum(run.audio_seconds for run in runs)
    return {
        "cell": cell,
        "side": side.name,
        "clients": concurrency,
        "rounds": len(runs),
        "answers": len(answered),
        **{f"p{percent} s": _at(answered, percent) for percent in (50, 95, 99)},
        "audio-s/s": _rounded(statistics.median(run.throughput for run in runs)),
        "CPU-s per audio-s": _rounded(sum(run.cpu_seconds for run in runs) / audio) if audio else None,
        "peak MB": round(max(run.peak_rss for run in runs)),
        "health p99 ms": _at(health, 99),
        "errors": sum(run.errors for run in runs),
        "WER %": None if wer is None else round(wer, 2),
        "told besides": side.options,
    }


def _at(samples: Sequence[float], percent: float) -> float | None:
    return _rounded(percentile(samples, percent)) if samples else None


def _rounded(value: float) -> float:
    """Return the value with three digits that mean something."""
    return round(value, max(2 - math.floor(math.log10(value)), 0)) if value > 0 else 0.0
