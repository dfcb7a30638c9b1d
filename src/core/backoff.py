"""How long a process that keeps dying is left alone."""

from __future__ import annotations

import time
from collections import deque

DEATH_WINDOW = 60.0
MAX_BACKOFF = 30.0
FREE_RESTARTS = 3
"""Deaths within DEATH_WINDOW seconds that are followed by an immediate restart; later ones wait 1, 2, 4 … 30 s."""


class Backoff:
    """The recent deaths of a process."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=16)

    def count(self) -> None:
        """Count a death that happened now."""
        self._deaths.append(time.monotonic())

    @property
    def delay(self) -> float:
        """Seconds from the last death to the next start."""
        recent = sum(1 for death in self._deaths if time.monotonic() - death < DEATH_WINDOW)
        return 0.0 if recent <= FREE_RESTARTS else min(2.0 ** (recent - FREE_RESTARTS - 1), MAX_BACKOFF)

    @property
    def left(self) -> float:
        """Seconds from now to the next start; 0 or less when there may be one."""
        return self._deaths[-1] + self.delay - time.monotonic() if self._deaths else 0.0


def longer(delay: float) -> float:
    """Return the delay after one that was in vain."""
    return min(max(2 * delay, 1.0), MAX_BACKOFF)
