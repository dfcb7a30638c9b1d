"""How fast an engine speaks and how much of an answer is ready: what tells how long the next piece may be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

HALF_LIFE_SECONDS = 15.0
"""Seconds of speech after which a measurement counts half."""
SAFETY = 0.8
"""Which part of the speech that is ready may be played while the next piece is made."""
CHARS_PER_SECOND = 15.0
"""How fast people speak, as long as nothing is known of a text."""
_FASTEST = 1e-3


class Rate:
    """Seconds an engine needs for a second of speech, from the pieces it made last. For all threads of a worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._took = 0.0
        self._made = 0.0

    @property
    def value(self) -> float:
        """The real-time factor; 1 as long as nothing is known."""
        with self._lock:
            return self._took / self._made if self._made else 1.0

    def chars(self, seconds: float) -> int:
        """Return about how many characters can be spoken within so many seconds, in a language with letters."""
        return int(seconds / max(self.value, _FASTEST) * CHARS_PER_SECOND)

    def add(self, took: float, made: float) -> None:
        """Count a piece that took so many seconds to make and lasts so many."""
        with self._lock:
            keep = 0.5 ** (made / HALF_LIFE_SECONDS)
            self._took = self._took * keep + took
            self._made = self._made * keep + made


class Playback:
    """One answer, for a listener who plays it from its first byte on; `tempo` is how much faster than it was made."""

    def __init__(self, rate: Rate, *, tempo: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._tempo = tempo
        self._clock = clock
        self._started: float | None = None
        self._chars = 0
        self._made = 0.0

    @property
    def ahead(self) -> float:
        """Seconds from now on for which the listener has something to play."""
        if self._started is None:
            return 0.0
        return max(0.0, self._made / self._tempo - (self._clock() - self._started))

    def add(self, chars: int, seconds: float) -> None:
        """Count a piece of so many characters that is made now and lasts so long at the engine's own tempo."""
        if self._started is None:
            self._started = self._clock()
        self._chars += chars
        self._made += seconds

    def chars(self, waiting: int = 0) -> int | None:
        """Return how many characters can be spoken before the listener runs out of speech, with some time to spare.

        `waiting`: how many others get their turn before this answer has its next one. None when speech is made more
        slowly than it is played, so that he runs out of it in any case.
        """
        factor = self._rate.value * (1 + waiting)
        if factor * self._tempo >= 1 or not self._made:
            return None
        seconds = SAFETY * self.ahead / max(factor, _FASTEST)
        return int(seconds * self._chars / self._made)
