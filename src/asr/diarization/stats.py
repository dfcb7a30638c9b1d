"""Speaker embeddings out of the frames of an encoder: one pass over the audio serves every voice and every window.

Encoders of the WeSpeaker kind are a network over filter bank energies, then weighted mean and deviation over time, then
one matrix. Only the first is expensive, and does not depend on who speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.diarization import fbank
from asr.diarization.engine import Recording, Vector

Frames = npt.NDArray[np.float32]
STRIDE = 8
"""Filter bank frames that become one frame of the encoder."""
FRAME_SECONDS = STRIDE / fbank.FRAMES_PER_SECOND
_BLOCK = 250 * STRIDE  # filter bank frames encoded at once: 20 seconds
_MARGIN = 25 * STRIDE  # and those around them that the network sees too: 2 seconds on either side
_MEAN_BLOCK = 60 * fbank.SAMPLE_RATE
_EPS = 1e-8


class FrameBuffer:
    """The encoder's frames around a moment that only moves on; made of what `encoded` yields."""

    def __init__(self, blocks: Iterator[Frames]) -> None:
        self._blocks = blocks
        self._frames = next(blocks, np.zeros((0, 1), dtype=np.float32))
        self._first = 0

    def between(self, start: float, end: float) -> Frames:
        """Return the frames between two seconds, as far as there are any; those before them are forgotten."""
        first, last = round(start / FRAME_SECONDS), round(end / FRAME_SECONDS)
        while self._first + len(self._frames) < last and (block := next(self._blocks, None)) is not None:
            keep = min(max(first - self._first, 0), len(self._frames))
            self._frames = np.concatenate([self._frames[keep:], block])
            self._first += keep
        return self._frames[max(first - self._first, 0) : max(last - self._first, 0)]


@dataclass(frozen=True, slots=True)
class Projection:
    """The last layer: `matrix` of shape (size, 2 * width) and `bias` (size,)."""

    matrix: Vector
    bias: Vector

    def __call__(self, frames: Frames, weights: Frames) -> Vector:
        """Return the embeddings of voices that are in frames (count, width) by weights (voices, count).

        The result has shape (voices, size), NaN for a voice without weight.
        """
        total = weights.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = weights @ frames / total
            # As torch's unbiased weighted variance.
            free = total - (weights**2).sum(axis=1, keepdims=True) / total
            square = weights @ frames**2 - mean**2 * total
            deviation = np.sqrt(np.maximum(square, 0) / (free + _EPS))
        result: Vector = np.concatenate([mean, deviation], axis=1) @ self.matrix.T + self.bias
        return result


def level(recording: Recording, progress: Callable[[float], None]) -> Vector:
    """Return the mean filter bank energies of a recording, shape (1, MELS): what the encoder sees is above them."""
    total, count = np.zeros(fbank.MELS), 0
    for start in range(0, recording.length, _MEAN_BLOCK):
        energies = fbank.fbank(recording.read(start, min(start + _MEAN_BLOCK, recording.length)))
        total += energies.sum(axis=0)
        count += len(energies)
        progress(start / recording.length)
    return (total / max(count, 1)).astype(np.float32)[None]


def encoded(recording: Recording, encode: Callable[[Frames], Frames], mean: Vector) -> Iterator[Frames]:
    """Yield the encoder's frames of a recording, block by block, FRAME_SECONDS apart, each of shape (count, width).

    `encode` turns energies (count, MELS) into frames (count / STRIDE, width).
    """
    count = fbank.frames_of(recording.length)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        before, after = max(start - _MARGIN, 0), min(stop + _MARGIN, count)
        samples = recording.read(before * fbank.SHIFT, (after - 1) * fbank.SHIFT + fbank.FRAME)
        found = encode(fbank.fbank(samples) - mean)
        first = (start - before) // STRIDE
        yield found[first : first + -(-(stop - start) // STRIDE)]
