"""A decoded file as a diarization engine reads it: anywhere, at 16 kHz, in flat memory whatever its length and rate."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from asr.diarization.engine import SAMPLE_RATE
from utils.audio.pcm import PcmFile, Samples
from utils.audio.resample import Resampler

_BLOCK_SECONDS = 20  # what is resampled at once, and kept
_BLOCK = _BLOCK_SECONDS * SAMPLE_RATE
_MARGIN_SECONDS = 1  # heard on both sides of a block, so that it is what the file resampled whole would be
_KEPT = 8


class PcmRecording:
    """The `Recording` (asr.diarization.engine) that a PCM file of any rate is. For one thread.

    Whole seconds are whole numbers of samples at every rate, so that blocks begin where samples of both rates do.
    """

    def __init__(self, pcm: PcmFile) -> None:
        self._pcm = pcm
        self._blocks: OrderedDict[tuple[int, int | None], Samples] = OrderedDict()

    @property
    def length(self) -> int:
        """Samples of one channel at 16 kHz."""
        return (self._pcm.frames * SAMPLE_RATE + self._pcm.sample_rate // 2) // self._pcm.sample_rate

    @property
    def channels(self) -> int:
        """Channels."""
        return self._pcm.channels

    def read(self, start: int, stop: int, *, channel: int | None = None) -> Samples:
        """Return samples [start, stop) of one channel, None for the average of all; what lies outside is silence."""
        found = np.zeros(max(stop - start, 0), dtype=np.float32)
        first, last = max(start, 0), min(stop, self.length)
        if first < last:
            found[first - start : last - start] = self._between(first, last, channel)
        return found

    def _between(self, first: int, last: int, channel: int | None) -> Samples:
        if self._pcm.sample_rate == SAMPLE_RATE:
            return self._pcm.read(first, last, channel=channel)
        numbers = range(first // _BLOCK, -(-last // _BLOCK))
        parts = [self._block(n, channel)[max(first - n * _BLOCK, 0) : last - n * _BLOCK] for n in numbers]
        return np.concatenate(parts)

    def _block(self, number: int, channel: int | None) -> Samples:
        key = number, channel
        if key not in self._blocks:
            self._blocks[key] = self._resampled(number, channel)
            if len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _resampled(self, number: int, channel: int | None) -> Samples:
        rate = self._pcm.sample_rate
        begin = number * _BLOCK_SECONDS
        heard = max(begin - _MARGIN_SECONDS, 0)
        samples = self._pcm.read(heard * rate, (begin + _BLOCK_SECONDS + _MARGIN_SECONDS) * rate, channel=channel)
        done = Resampler(rate, SAMPLE_RATE).feed(samples, last=True)[(begin - heard) * SAMPLE_RATE :]
        block = np.zeros(min(_BLOCK, self.length - number * _BLOCK), dtype=np.float32)
        part = done[: len(block)]
        block[: len(part)] = part
        return block
