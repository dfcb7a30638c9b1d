"""What the parts of `make bench-asr` share: sides in turn over the same clips, and their rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import asr_sides, processes
from bench.asr_check import count
from bench.asr_plan import AsrPlan
from bench.parts import Part
from bench.samples import SETTLE_SECONDS, interleave
from bench.sides import OURS, Resident, Run, Runs, Side, row
from bench.speech import Clip, between, some

SHORT_SECONDS = (2.0, 12.0)
IDLE_SHARE, IDLE_LOOK_SECONDS, IDLE_PATIENCE = 0.1, 0.5, 120.0
WARM_UP_CLIPS = 2
SEQUENTIAL, PLAIN, BATCHED, SPREAD = (
    "faster-whisper",
    "faster-whisper, without VAD",
    "faster-whisper, batched",
    "faster-whisper, a worker per core",
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every part needs: the plan, a folder for files, all clips, and where to say how far it is."""

    plan: AsrPlan
    folder: Path
    clips: Sequence[Clip]
    say: Callable[[str], None]

    @property
    def short(self) -> list[Clip]:
        """The clips of 2 to 12 seconds, as many as the plan asks for."""
        found = between(self.clips, *SHORT_SECONDS)
        return found if self.plan.clips is None else some(found, self.plan.clips)

    @contextmanager
    def sides(self, *names: str) -> Iterator[list[Side]]:
        """Start our service and the named ways to use bare faster-whisper; none of those without its model."""
        plan, cores = self.plan, self.plan.threads
        ways: Mapping[str, tuple[int, int, Mapping[str, Any]]] = {
            SEQUENTIAL: (1, cores, asr_sides.SEQUENTIAL),
            PLAIN: (1, cores, asr_sides.WITHOUT_VAD),
            BATCHED: (1, cores, asr_sides.BATCHED),
            SPREAD: (cores, 1, asr_sides.SEQUENTIAL),
        }
        with ExitStack() as stack:
            found: list[Side] = [stack.enter_context(asr_sides.ours(plan.settings))]
            for name in names:
                workers, threads, options = ways[name]
                if plan.model is not None:
                    way = asr_sides.bare(name, plan.model, workers=workers, threads=threads, options=options)
                    found.append(stack.enter_context(way))
            yield found

    def warm_up(self, side: Side) -> None:
        """Let a side that stays loaded do what it does once; several times, for those of several processes."""
        if not isinstance(side, Resident):
            return
        side.run([*self.short[:WARM_UP_CLIPS]], concurrency=1)
        if self.plan.threads > 1:
            side.run(some(self.short, 2 * self.plan.threads), concurrency=2 * self.plan.threads)

    def measure(self, cell: str, sides: Sequence[Side], clips: Sequence[Clip], *, clients: int, rounds: int) -> Runs:
        """Run every side once a round, each round beginning with another."""
        self.say(f"{cell}, {clients} clients: {', '.join(side.name for side in sides)}; {rounds} rounds")

        def run(side: Side) -> Run:
            # After a rest the first seconds are slower (ours by 7 % after 45 s), which costs those most who need the
            # fewest.
            self.warm_up(side)
            return side.run(clips, concurrency=clients)

        calls = {side.name: partial(run, side) for side in sides}
        return interleave(calls, rounds=rounds, warm_up=0, tick=lambda: None, settle=SETTLE_SECONDS)

    def tell(self, part: Part, cell: str, side: Side, runs: Sequence[Run], *, clients: int) -> None:
        """Add the row of a side to a part, and say it."""
        errors = count(runs)
        wer = errors.percent if errors else None
        part.rows.append(row(cell, side, runs, concurrency=clients, wer=wer))
        self.say("  " + ", ".join(f"{key} {value}" for key, value in part.rows[-1].items() if value not in {None, ""}))


def speedup(runs: Runs, other: str) -> float:
    """Return how many times the wall time of ours another side takes: the ratio of the medians of the rounds."""
    return round(_median(runs[other]) / _median(runs[OURS]), 3)


def _median(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def throughput(runs: Sequence[Run]) -> float:
    """Return the median of the rounds, in seconds of audio per second."""
    return statistics.median(run.throughput for run in runs)


def until_idle(pid: int) -> None:
    """Wait until a process and those below it have nothing to do. TimeoutError when they stay busy."""
    deadline = time.monotonic() + IDLE_PATIENCE
    before = processes.cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(IDLE_LOOK_SECONDS)
        now = processes.cpu_seconds(pid)
        if now - before < IDLE_SHARE * IDLE_LOOK_SECONDS:
            return
        before = now
    raise TimeoutError("the service is still at work although nobody waits for it")
