"""Whisper's log-mel spectrogram of one window; faster-whisper's own makes that of a whole file."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from utils.audio.pcm import Samples

_END_PADDING = 160
_BLOCK_FRAMES = 500  # small enough for the processor's cache, and 2 MB instead of 12


def log_mel(extractor: Any, samples: Samples) -> npt.NDArray[np.float32]:
    """Return what faster-whisper's `extractor(samples)` returns, shape (mels, frames of 10 ms), in half the time."""
    size, hop = extractor.n_fft, extractor.hop_length
    padded = np.pad(np.pad(samples, (0, _END_PADDING)), size // 2, mode="reflect")
    count = (len(padded) - size) // hop
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: count * hop : hop]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    features = np.empty((len(extractor.mel_filters), count), dtype=np.float32)
    for first in range(0, count, _BLOCK_FRAMES):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK_FRAMES] * window, axis=1)
        power = spectrum.real**2
        power += spectrum.imag**2
        np.matmul(extractor.mel_filters, power.T, out=features[:, first : first + _BLOCK_FRAMES])
    np.log10(np.maximum(features, 1e-10, out=features), out=features)
    np.maximum(features, features.max() - 8.0, out=features)
    features += 4.0
    features /= 4.0
    return features
