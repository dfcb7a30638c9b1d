"""Quiet recordings raised to where speech usually is; nothing is ever made quieter."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from utils.audio.pcm import Samples

TARGET = 0.1
"""Root mean square of a loud stretch of speech, about -20 dB of full scale."""
MAX_GAIN = 10.0
"""More would make speech of the noise in a silent room."""
BLOCK_SECONDS = 0.4
"""Loudness is measured in stretches of this length."""
_LOUD_PERCENT = 95


def gain(blocks: Iterable[Samples], sample_rate: int) -> float:
    """Return the factor that raises the loud stretches of a recording to TARGET, but not beyond full scale; at least 1.

    The recording comes in blocks of whole multiples of BLOCK_SECONDS, the last one of any length.
    """
    levels: list[Samples] = []
    peak = 0.0
    for block in blocks:
        size = min(max(round(BLOCK_SECONDS * sample_rate), 1), len(block))
        if size:
            rows = block[: len(block) // size * size].reshape(-1, size)
            levels.append(np.sqrt(np.einsum("ij,ij->i", rows, rows) / size))
            peak = max(peak, float(block.max()), -float(block.min()))
    if not levels:
        return 1.0
    all_levels = np.concatenate(levels)
    if not np.isfinite(all_levels).all() or not 0 < peak < 1:
        return 1.0
    loud = float(np.percentile(all_levels, _LOUD_PERCENT))
    return min(TARGET / loud, 1 / peak, MAX_GAIN) if 0 < loud < TARGET else 1.0
