"""A recording that is in memory."""

from __future__ import annotations

import numpy as np

from utils.audio.pcm import Samples


class Clip:
    """Samples at 16 kHz as a recording (asr.diarization.engine.Recording); shape (n,), or (n, channels)."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples if samples.ndim > 1 else samples[:, None]

    @property
    def length(self) -> int:
        """Samples of one channel."""
        return len(self._samples)

    @property
    def channels(self) -> int:
        """Channels."""
        count: int = self._samples.shape[1]
        return count

    def read(self, start: int, stop: int, *, channel: int | None = None) -> Samples:
        """Return samples [start, stop) of one channel, None for the average of all; what lies outside is silence."""
        result = np.zeros(max(stop - start, 0), dtype=np.float32)
        first, last = min(max(start, 0), self.length), min(max(stop, 0), self.length)
        if last > first:
            part = self._samples[first:last]
            result[first - start : last - start] = part.mean(axis=1) if channel is None else part[:, channel]
        return result
