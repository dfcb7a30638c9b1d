"""Whisper's log-mel spectrogram made block by block: ten minutes whole would take 600 MB, in blocks 30 MB."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from utils.audio.pcm import Samples

_BLOCK_FRAMES = 3000
_END_PADDING = 160


def log_mel(extractor: Any, samples: Samples) -> npt.NDArray[np.float32]:
    """Return what faster-whisper's `extractor(samples)` returns, shape (mels, frames of 10 ms)."""
    half, hop = extractor.n_fft // 2, extractor.hop_length
    padded = np.pad(samples, (0, _END_PADDING))
    padded = np.pad(padded, half, mode="reflect")
    frames = (len(padded) - extractor.n_fft) // hop
    window = np.hanning(extractor.n_fft + 1)[:-1].astype(np.float32)
    features = np.empty((len(extractor.mel_filters), frames), dtype=np.float32)
    for first in range(0, frames, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, frames)
        block = padded[first * hop : (last - 1) * hop + extractor.n_fft]
        spectrum = extractor.stft(block, extractor.n_fft, hop, window=window, center=False, return_complex=True)
        mel = extractor.mel_filters @ (np.abs(spectrum.astype(np.complex64)) ** 2)
        np.log10(np.maximum(mel, 1e-10), out=features[:, first:last])
    np.maximum(features, features.max() - 8.0, out=features)
    features += 4.0
    features /= 4.0
    return features
