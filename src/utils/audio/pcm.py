"""Audio as numbers: samples in memory (`Audio`) and samples in a file (`PcmFile`). No decoding, no I/O but memmap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
INT16_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class Audio:
    """Mono float32 samples in [-1, 1].

    `samples` has shape (n,); `sample_rate` is in Hz.
    """

    samples: Samples
    sample_rate: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.sample_rate

    def to_s16(self) -> bytes:
        """Return little-endian signed 16-bit PCM; values outside [-1, 1] are clipped."""
        clipped = np.clip(self.samples, -1.0, 1.0)
        data: bytes = np.rint(clipped * 32767.0).astype("<i2").tobytes()
        return data


@dataclass(frozen=True, slots=True)
class PcmFile:
    """Interleaved signed 16-bit little-endian samples that start at byte `offset` of `path`.

    `frames` counts samples per channel, `sample_rate` is in Hz. The file belongs to whoever made it.
    """

    path: Path
    frames: int
    sample_rate: int
    channels: int = 1
    offset: int = 0

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate

    def read(self, start: int = 0, stop: int | None = None) -> Samples:
        """Return frames [start, stop) as mono float32, averaged over the channels; the file is mapped, not loaded."""
        stop = self.frames if stop is None else min(stop, self.frames)
        if stop <= start:
            return np.zeros(0, dtype=np.float32)
        mapped = np.memmap(self.path, dtype="<i2", mode="r", offset=self.offset, shape=(self.frames, self.channels))
        part = mapped[start:stop]
        mono = part[:, 0].astype(np.float32) if self.channels == 1 else part.mean(axis=1, dtype=np.float32)
        mono /= INT16_SCALE
        return mono
