"""Changing the sample rate with soxr. For worker processes only: soxr is imported when first used."""

from __future__ import annotations

from typing import Any

import numpy as np

from utils.audio.pcm import Audio, Samples

QUALITY = "HQ"


class Resampler:
    """Resamples one mono stream piece by piece; the pieces joined equal the stream resampled whole."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate = from_rate
        self.to_rate = to_rate
        self._stream: Any = None
        if from_rate != to_rate:
            import soxr  # noqa: PLC0415

            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=QUALITY)

    def feed(self, samples: Samples, *, last: bool = False) -> Samples:
        """Take the next samples, shape (n,), and return those that are ready, shape (m,), within [-1, 1].

        soxr holds back a few milliseconds; `last` returns them and ends the stream.
        """
        if self._stream is None:
            return samples
        done: Samples = self._stream.resample_chunk(np.ascontiguousarray(samples, dtype=np.float32), last=last)
        return np.clip(done, -1.0, 1.0, out=done)  # the filter overshoots at full scale


def resample(audio: Audio, rate: int) -> Audio:
    """Return the same sound at `rate` Hz."""
    if audio.sample_rate == rate:
        return audio
    return Audio(Resampler(audio.sample_rate, rate).feed(audio.samples, last=True), rate)
