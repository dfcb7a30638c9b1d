"""Quiet recordings raised to where speech usually is; nothing is ever made quieter."""

from __future__ import annotations

import numpy as np

from utils.audio.pcm import Audio

TARGET = 0.1
"""Root mean square of a loud stretch of speech, about -20 dB of full scale."""
MAX_GAIN = 10.0
"""More would make speech of the noise in a silent room."""
_BLOCK_SECONDS = 0.4
_LOUD_PERCENT = 95


def amplified(audio: Audio) -> Audio:
    """Return the audio amplified until its loud blocks reach TARGET, but not beyond full scale or by MAX_GAIN."""
    size = min(max(round(_BLOCK_SECONDS * audio.sample_rate), 1), len(audio.samples))
    if not size:
        return audio
    blocks = audio.samples[: len(audio.samples) // size * size].reshape(-1, size)
    levels = np.sqrt(np.einsum("ij,ij->i", blocks, blocks) / size)
    peak = max(float(audio.samples.max()), -float(audio.samples.min()))
    if not np.isfinite(levels).all() or not 0 < peak < 1:
        return audio
    loud = float(np.percentile(levels, _LOUD_PERCENT))
    if not 0 < loud < TARGET:
        return audio
    return Audio(audio.samples * np.float32(min(TARGET / loud, 1 / peak, MAX_GAIN)), audio.sample_rate)
