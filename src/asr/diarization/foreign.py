"""What other people's diarization libraries find, as a Diarization."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from asr.diarization.engine import Diarization, DiarizeOptions, Turn, Vector
from asr.diarization.likeness import unit
from asr.diarization.timeline import cleaned, cleaned_exclusive, numbered

_HEARD_SECONDS = 0.5  # until whoever waits for a library asks again whether anybody waits for him


@contextmanager
def held(lock: threading.Lock, progress: Callable[[float], None]) -> Iterator[None]:
    """Hold a lock in the block. What `progress` raises ends the wait for it, too."""
    while not lock.acquire(timeout=_HEARD_SECONDS):
        progress(0.0)
    try:
        yield
    finally:
        lock.release()


def adopted(
    found: Iterable[Turn],
    options: DiarizeOptions,
    *,
    duration: float,
    alone: Iterable[Turn] | None = None,
    vectors: Mapping[int, Vector] | None = None,
) -> Diarization:
    """Return a Diarization of turns whose speakers have any numbers; what the options say of short ones is done here.

    Turns end with the recording, after `duration` seconds: libraries fill up its last window. `alone` is the library's
    own timeline of one speaker at a time; where there is none it is made from the turns. Of `vectors`, by the library's
    numbers, those that are no direction (zeros, NaN) are left out.
    """
    turns, numbers = numbered(cleaned(_within(found, duration), min_on=options.min_on, min_off=options.min_off))
    if alone is None:
        single = exclusive(turns)
    else:
        tidy = cleaned_exclusive(_within(alone, duration), min_on=options.min_on, min_off=options.min_off)
        single = [replace(turn, speaker=numbers[turn.speaker]) for turn in tidy if turn.speaker in numbers]
    embeddings = {
        numbers[speaker]: unit(np.asarray(vector)).astype(np.float32)
        for speaker, vector in (vectors or {}).items()
        if speaker in numbers and np.isfinite(vector).all() and np.any(vector)
    }
    return Diarization(turns=tuple(turns), exclusive=tuple(single), embeddings=embeddings)


def exclusive(found: Iterable[Turn]) -> list[Turn]:
    """Return turns of one speaker at a time, in order: who talks goes on to the end of his turn.

    Of another's turn that begins meanwhile the rest counts, and nothing where it ends before.
    """
    until = 0.0
    alone = []
    for turn in sorted(found):
        start = max(turn.start, until)
        if turn.end > start:
            alone.append(replace(turn, start=start))
            until = turn.end
    return alone


def _within(found: Iterable[Turn], duration: float) -> list[Turn]:
    cut = [replace(turn, end=min(turn.end, duration)) for turn in found]
    return [turn for turn in cut if turn.end > turn.start]
