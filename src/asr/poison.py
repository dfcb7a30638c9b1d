"""Audio that ends the engine's process: told by its hash, and refused when it does so again and again."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import CrashedByRequest, UnprocessableAudio

DEATHS = 2
WINDOW_SECONDS = 3600.0


class Poison:
    """Counts the deaths of workers by the SHA-256 of what they worked on."""

    def __init__(self) -> None:
        self._deaths: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=DEATHS))

    def check(self, sha256: str) -> None:
        """Raise UnprocessableAudio for audio that ended a process twice within the last hour."""
        deaths = self._deaths.get(sha256, deque())
        if len(deaths) >= DEATHS and time.monotonic() - deaths[0] < WINDOW_SECONDS:
            raise UnprocessableAudio("this audio ended the engine's process twice within the last hour")

    @contextmanager
    def watch(self, sha256: str) -> Iterator[None]:
        """Count a CrashedByRequest in here against the audio, the second one of which becomes UnprocessableAudio.

        Any other EngineCrashed may be the fault of a neighbour. An empty `sha256` is nobody's.
        """
        try:
            yield
        except CrashedByRequest:
            if sha256:
                self._deaths[sha256].append(time.monotonic())
                self.check(sha256)  # the second death is told as what it is, not as the first was
            raise
