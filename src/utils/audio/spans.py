"""Stretches of audio: spans, and the way back from audio with its silence cut out to the times of the original."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of audio, in seconds from its beginning."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start


class Timeline:
    """Tells where a moment of the kept audio (the spans joined) lies in the original.

    Times of a text are not exact. One that begins less than `slack` seconds before a cut belongs behind it, one that
    ends less than `slack` seconds behind a cut belongs before it: otherwise a subtitle would stay on the screen
    through the silence that was cut out. There must be at least one span.
    """

    def __init__(self, spans: Sequence[Span], *, slack: float = 0.0) -> None:
        self._spans = list(spans)
        self._ends = list(accumulate(span.duration for span in self._spans))
        self._slack = slack

    def place(self, start: float, end: float) -> tuple[float, float]:
        """Return the original times of a text that lies between two kept times; the end is never before the start."""
        first, last = self._index(start), self._index(end)
        if first + 1 < len(self._spans) and self._ends[first] - start < self._slack:
            first += 1
        if last > 0 and end - self._ends[last - 1] < self._slack:
            last -= 1
        if last < first:  # it lies around the cut
            first = last = self._index((start + end) / 2)
        return self._original(start, first), self._original(end, last)

    def place_inside(self, start: float, end: float) -> tuple[float, float]:
        """Return the original times of something that cannot reach over a cut, such as one word."""
        index = self._index((start + end) / 2)
        return self._original(start, index), self._original(end, index)

    def _index(self, seconds: float) -> int:
        return min(bisect_right(self._ends, seconds), len(self._ends) - 1)

    def _original(self, seconds: float, index: int) -> float:
        span = self._spans[index]
        inside = seconds - (self._ends[index] - span.duration)
        return min(max(span.start + inside, span.start), span.end)
