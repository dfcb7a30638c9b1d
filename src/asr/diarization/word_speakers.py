"""Who said which words: segments of a transcript take their speakers from the turns of a diarization."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from asr.diarization.engine import Turn
from asr.transcript import Segment

REACH_SECONDS = 0.5
"""A word that lies in no turn is said by who talks within so many seconds of it."""


class Speakers:
    """Tells who talks between two times; made of turns that do not overlap, in order."""

    def __init__(self, exclusive: Sequence[Turn]) -> None:
        self._turns = list(exclusive)
        self._ends = [turn.end for turn in self._turns]

    def between(self, start: float, end: float) -> int | None:
        """Return the number of who talks most of the time, else of the nearest; None where nobody is near."""
        best: tuple[float, float] | None = None
        found: int | None = None
        for place in range(bisect_left(self._ends, start - REACH_SECONDS), len(self._turns)):
            turn = self._turns[place]
            if turn.start > end + REACH_SECONDS:
                break
            shared = min(turn.end, end) - max(turn.start, start)
            rank = (max(shared, 0.0), min(shared, 0.0))
            if best is None or rank > best:
                best, found = rank, turn.speaker
        return found


def attributed(segment: Segment, who: Callable[[float, float], int | None]) -> Iterator[tuple[int | None, Segment]]:
    """Yield a segment with the number of its speaker; one that has words is cut where the speaker changes.

    `who` tells who talks between two times, None for nobody. A cut segment's tokens and log-probabilities stay with its
    first part: they are not told apart by words.
    """
    if not segment.words:
        yield who(segment.start, segment.end), segment
        return
    said = [(who(word.start, word.end), word) for word in segment.words]
    runs = [(speaker, tuple(word for _, word in run)) for speaker, run in groupby(said, key=lambda one: one[0])]
    if len(runs) == 1:
        yield runs[0][0], segment
        return
    for place, (speaker, words) in enumerate(runs):
        text = "".join(word.word for word in words)
        part = replace(segment, words=words, start=words[0].start, end=words[-1].end, text=text)
        yield speaker, replace(part, tokens=(), logprobs=()) if place else part
