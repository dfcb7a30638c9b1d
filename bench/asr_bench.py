"""What the parts of `make bench-asr` share: sides in turn over the same clips, their rows, and whether texts drift."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import asr_sides, processes, words
from bench.asr_plan import AsrPlan
from bench.parts import Part
from bench.results import EDITS_MARGIN
from bench.samples import SETTLE_SECONDS, interleave
from bench.sides import Resident, Run, Side, row
from bench.speech import Clip, between, some
from bench.words import WordErrors

SHORT_SECONDS = (2.0, 12.0)
IDLE_SHARE, IDLE_LOOK_SECONDS, IDLE_PATIENCE = 0.1, 0.5, 120.0
WARM_UP_CLIPS = 2
Runs = dict[str, list[Run]]
OURS = "ours"


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
    def sides(self, *, sequential: bool = False, batched: bool = False, spread: bool = False) -> Iterator[list[Side]]:
        """Start our service and the asked for ways to use bare faster-whisper; none of those without its model."""
        plan, cores = self.plan, self.plan.threads
        with ExitStack() as stack:
            found: list[Side] = [stack.enter_context(asr_sides.ours(plan.settings))]
            ways = {
                SEQUENTIAL: (sequential, 1, cores, False),
                BATCHED: (batched, 1, cores, True),
                SPREAD: (spread, cores, 1, False),
            }
            for name, (wanted, workers, threads, batches) in ways.items():
                if wanted and plan.model is not None:
                    way = asr_sides.bare(name, plan.model, workers=workers, threads=threads, batched=batches)
                    found.append(stack.enter_context(way))
            for side in found:
                self.warm_up(side)
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
        calls = {side.name: (lambda side=side: side.run(clips, concurrency=clients)) for side in sides}
        return interleave(calls, rounds=rounds, warm_up=0, tick=lambda: None, settle=SETTLE_SECONDS)

    def tell(self, part: Part, cell: str, side: Side, runs: Sequence[Run], *, clients: int) -> None:
        """Add the row of a side to a part, and say it."""
        errors = count(runs)
        wer = errors.percent if errors else None
        part.rows.append(row(cell, side, runs, concurrency=clients, wer=wer))
        self.say("  " + ", ".join(f"{key} {value}" for key, value in part.rows[-1].items() if value not in {None, ""}))


SEQUENTIAL, BATCHED, SPREAD = "faster-whisper", "faster-whisper, batched", "faster-whisper, a worker per core"


def count(runs: Sequence[Run]) -> WordErrors | None:
    """Return the word errors of the round in the middle; None where they cannot be counted."""
    said = [one.clip.text for one in runs[0].heard]
    if not any(said):
        return None
    found = [words.count(said, [one.text or "" for one in run.heard]) for run in runs]
    counted = sorted((one for one in found if one is not None), key=lambda one: one.edits)
    return counted[(len(counted) - 1) // 2] if counted else None


def check(part: Part, cell: str, runs: Runs, *, reference: str) -> None:
    """Add to the failures of a part where our texts are missing or worse than those of the reference."""
    ours = runs[OURS]
    if errors := sum(run.errors for run in ours):
        part.failures.append(f"{cell}: {errors} errors")
    if empty := sorted({name for run in ours for name in run.empty}):
        part.failures.append(f"{cell}: no text for {', '.join(empty)}")
    mine, theirs = count(ours), count(runs[reference]) if reference in runs else None
    if mine and theirs and mine.edits > theirs.edits + EDITS_MARGIN:
        part.failures.append(
            f"{cell}: {mine.edits} wrong words of {mine.words}, {reference} has {theirs.edits} (+{EDITS_MARGIN} may be)"
        )


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
