"""Who speaks in audio that is still coming: a window is said by the speaker it is most like so far, or a new one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from asr.diarization.engine import SAMPLE_RATE, DiarizeStream, Turn, Vector
from asr.diarization.likeness import Matrix, unit
from utils.audio.pcm import Samples
from utils.audio.vad import SpeechFinder

_LEAST_SAMPLES = SAMPLE_RATE // 10  # of less no vector can be made
_PAUSE_MS = 100


class Follower(DiarizeStream):
    """Tells speakers by the vectors that `embed` makes of `window` seconds of speech, or of less before a pause.

    A vector that is farther than `threshold` (cosine distance) from all speakers is a new one's, unless there are
    `most` of them or it is made of less than `least` seconds. What is told stays: nobody is split or joined later.
    """

    def __init__(
        self, embed: Callable[[Samples], Vector], *, threshold: float, most: int | None, window: float, least: float
    ) -> None:
        self._embed = embed
        self._threshold = threshold
        self._most = most
        self._window, self._least = round(window * SAMPLE_RATE), round(least * SAMPLE_RATE)
        self._finder = SpeechFinder(min_silence_ms=_PAUSE_MS, padding_ms=0)
        self._samples: Samples = np.zeros(0, dtype=np.float32)
        self._first = 0  # where these samples begin
        self._begun: int | None = None  # where the speech begins that has no speaker yet
        self._last: int | None = None  # who said what is before it without a pause
        self._sums: list[Matrix] = []

    def feed(self, samples: Samples, *, last: bool = False) -> list[Turn]:
        """Take the next 16 kHz samples, and return whose the windows are that have become whole."""
        self._samples = np.concatenate([self._samples, samples])
        found: list[Turn] = []
        for start, stop, ends in self._finder.feed(samples, last=last):
            self._begun = start if self._begun is None else self._begun
            while stop - self._begun >= self._window:
                found += self._turn(self._begun, self._begun + self._window)
                self._begun += self._window
            if ends:
                found += self._turn(self._begun, stop)
                self._begun = self._last = None
        self._forget(self._finder.settled if self._begun is None else self._begun)
        return found

    def _forget(self, before: int) -> None:
        self._samples = self._samples[max(before - self._first, 0) :].copy()
        self._first = max(before, self._first)

    def _turn(self, start: int, stop: int) -> list[Turn]:
        """Return the turn between two samples, none for what is too short to have a speaker."""
        speaker = self._speaker(self._samples[start - self._first : stop - self._first])
        self._last = speaker
        if speaker is None or stop == start:
            return []
        return [Turn(start / SAMPLE_RATE, stop / SAMPLE_RATE, speaker)]

    def _speaker(self, samples: Samples) -> int | None:
        sure = len(samples) >= self._least
        if not sure and (self._last is not None or len(samples) < _LEAST_SAMPLES):
            return self._last
        vector = unit(self._embed(samples))
        likeness = unit(np.stack(self._sums)) @ vector if self._sums else np.array([-np.inf])
        full = self._most is not None and len(self._sums) >= self._most
        if self._sums and (1 - likeness.max() <= self._threshold or full or not sure):
            speaker = int(likeness.argmax())
            if sure:
                self._sums[speaker] = self._sums[speaker] + vector
            return speaker
        self._sums.append(vector)
        return len(self._sums) - 1
