"""Audio as numbers: samples in memory (`Audio`) and samples in a file (`PcmFile`). No decoding, no I/O but memmap."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return {**asdict(self), "path": str(self.path)}

    def read(self, start: int = 0, stop: int | None = None, *, channel: int | None = None) -> Samples:
        """Return frames [start, stop) of one channel as float32, None for the average of all.

        The file is mapped, not loaded.
        """
        stop = self.frames if stop is None else min(stop, self.frames)
        if stop <= start:
            return np.zeros(0, dtype=np.float32)
        mapped = np.memmap(self.path, dtype="<i2", mode="r", offset=self.offset, shape=(self.frames, self.channels))
        part = mapped[start:stop]
        channel = 0 if self.channels == 1 and channel is None else channel
        mono = part.mean(axis=1, dtype=np.float32) if channel is None else part[:, channel].astype(np.float32)
        mono /= INT16_SCALE
        return mono
