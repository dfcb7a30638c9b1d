"""How long `make bench-asr` will take, from rough speeds of two cores with Whisper base: to know whether to wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.asr_bench import SHORT_SECONDS, WARM_UP_CLIPS
from bench.asr_plan import QUICK_CLIPS, AsrPlan
from bench.asr_speed import CLIPS_PER_CLIENT
from bench.samples import SETTLE_SECONDS
from bench.speech import Clip, between

CORES = 2
LOAD, START_OF_PROGRAM = 3.0, 8.0
OURS_CLIP, BARE_CLIP = 0.4, 1.1
"""Seconds for a clip of six seconds, sent alone."""
OURS_CLIP_C8, BARE_CLIP_C8 = 0.25, 0.7
"""The same with several clients: wall time over the number of clips."""
OURS_SPEED, BARE_SPEED, BATCHED_SPEED, SILENCE_SPEED = 30.0, 15.0, 20.0, 120.0
"""Seconds of audio per second, in long files."""
PREPARE = 8.0
"""Seconds until a long file is made or under way, and broken off afterwards."""
WARM_UP = WARM_UP_CLIPS + 2 * CORES
PROGRAMS, WAYS = 2, 3
"""Other programs, and how many ways each of them is tried."""


@dataclass(frozen=True, slots=True)
class _Amounts:
    """What there is to do: the plan, and the numbers of short clips and of others (that count as much longer)."""

    plan: AsrPlan
    short: int
    other_seconds: float

    @property
    def start(self) -> float:
        """Seconds until our service is loaded and warm."""
        return LOAD + WARM_UP * OURS_CLIP

    def warm(self, others: int) -> float:
        """Seconds in which our service and other sides are made warm for one run each."""
        return WARM_UP * (OURS_CLIP + others * BARE_CLIP)


def minutes(plan: AsrPlan, clips: Sequence[Clip]) -> float:
    """Return the minutes that a plan takes."""
    short = between(clips, *SHORT_SECONDS)
    others = 0.0 if plan.quick else sum(clip.seconds for clip in clips) - sum(clip.seconds for clip in short)
    todo = _Amounts(plan, min(len(short), plan.clips or len(short)), others)
    return sum(_PARTS[name](todo) for name in plan.parts) / 60


def _short(todo: _Amounts) -> float:
    bare = 2 if todo.plan.quick else 3
    clips = todo.short + todo.other_seconds / 6
    settling = 2 * (1 + bare) * SETTLE_SECONDS
    one = clips * (OURS_CLIP + bare * BARE_CLIP) + (1 if todo.plan.quick else 2) * todo.warm(bare) + settling
    return (1 + bare) * LOAD + todo.plan.rounds * one


def _clients(todo: _Amounts) -> float:
    plan = todo.plan
    tried = PROGRAMS * WAYS * (START_OF_PROGRAM + (WARM_UP + QUICK_CLIPS) * BARE_CLIP)
    sides = OURS_CLIP_C8 + BARE_CLIP_C8 + (PROGRAMS * BARE_CLIP if plan.peer_rounds > 1 else 0.0)
    given = todo.short + sum(max(QUICK_CLIPS, CLIPS_PER_CLIENT * number) for number in plan.other_clients)
    cells = 1 + len(plan.other_clients)
    warm = cells * todo.warm(1 + PROGRAMS if plan.peer_rounds > 1 else 1)
    return 2 * LOAD + tried + plan.rounds * (given * sides + warm)


def _long(todo: _Amounts) -> float:
    plan = todo.plan
    seconds = 60 + plan.long_seconds
    one = seconds / OURS_SPEED + seconds / BARE_SPEED + seconds / BATCHED_SPEED
    programs = 0.0 if plan.quick else PROGRAMS * WAYS * (START_OF_PROGRAM + plan.long_seconds / BARE_SPEED)
    return 3 * LOAD + plan.long_rounds * (one + 2 * todo.warm(2)) + programs


def _mixed(todo: _Amounts) -> float:
    return todo.start + todo.plan.rounds * (todo.plan.mixed_clips * 3 * OURS_CLIP + PREPARE)


def _livez(todo: _Amounts) -> float:
    plan = todo.plan
    return todo.start + plan.answers_under_load * (OURS_CLIP + plan.rounds * OURS_CLIP_C8)


def _memory(todo: _Amounts) -> float:
    plan = todo.plan
    speech = plan.hour_speech or plan.hour_seconds
    return todo.start + speech / OURS_SPEED + (plan.hour_seconds - speech) / SILENCE_SPEED + PREPARE


def _reload(todo: _Amounts) -> float:
    plan = todo.plan
    return todo.start + plan.rounds * (plan.idle_unload + LOAD + 2 * OURS_CLIP)


_PARTS: Mapping[str, Callable[[_Amounts], float]] = {
    "short": _short,
    "c8": _clients,
    "long": _long,
    "mixed": _mixed,
    "livez": _livez,
    "memory": _memory,
    "reload": _reload,
}
