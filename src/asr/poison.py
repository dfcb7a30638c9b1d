"""Audio that ends the engine's process: told by its hash, and refused when it does so again and again."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import CrashedByRequest, UnprocessableAudio, of_model

DEATHS = 2
WINDOW_SECONDS = 3600.0


class Poison:
    """Counts the deaths of workers by their model and the SHA-256 of what they worked on.

    What ends the process of one model may be fine for another.
    """

    def __init__(self) -> None:
        self._deaths: defaultdict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=DEATHS))

    def check(self, sha256: str, model: str) -> None:
        """Raise UnprocessableAudio for audio that ended this model's process twice within the last hour."""
        deaths = self._deaths.get((model, sha256), deque())
        if len(deaths) >= DEATHS and time.monotonic() - deaths[0] < WINDOW_SECONDS:
            with of_model(model):
                raise UnprocessableAudio("this audio ended the engine's process twice within the last hour")

    @contextmanager
    def watch(self, sha256: str, model: str) -> Iterator[None]:
        """Count a CrashedByRequest in here against the audio, the second one of which becomes UnprocessableAudio.

        Any other EngineCrashed may be the fault of a neighbour. An empty `sha256` is nobody's.
        """
        try:
            yield
        except CrashedByRequest:
            if sha256:
                self._deaths[model, sha256].append(time.monotonic())
                self.check(sha256, model)  # the second death is told as what it is, not as the first was
            raise
