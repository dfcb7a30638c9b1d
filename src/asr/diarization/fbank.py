"""Kaldi's log mel filter bank energies, which speaker encoders are trained on; numpy only.

https://kaldi-asr.org/doc/feat.html: frames that fit whole, DC removed, pre-emphasis, a Hamming window, the power of the
spectrum, triangles that are even on the mel scale, the natural logarithm.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from utils.audio.pcm import Samples

SAMPLE_RATE = 16_000
FRAMES_PER_SECOND = 100
MELS = 80
FRAME, SHIFT = 400, 160
"""Samples of a frame, and from one to the next."""
_FFT = 512
_LOW, _HIGH = 20.0, 8000.0  # Hz
_PRE_EMPHASIS = 0.97
_SCALE = 32768.0  # Kaldi reads 16-bit samples
_FLOOR = float(np.finfo(np.float32).eps)

Features = npt.NDArray[np.float32]


def frames_of(samples: int) -> int:
    """Return how many frames so many samples have."""
    return 0 if samples < FRAME else 1 + (samples - FRAME) // SHIFT


def fbank(samples: Samples) -> Features:
    """Return the filter bank energies of 16 kHz samples in [-1, 1], shape (frames_of(samples), MELS)."""
    count = frames_of(len(samples))
    if not count:
        return np.zeros((0, MELS), dtype=np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::SHIFT] * np.float32(_SCALE)
    frames -= frames.mean(axis=1, keepdims=True)
    # Kaldi repeats the first sample in front of a frame.
    frames[:, 1:] -= np.float32(_PRE_EMPHASIS) * frames[:, :-1]
    frames[:, 0] *= 1 - _PRE_EMPHASIS
    frames *= _window()
    power = np.abs(np.fft.rfft(frames, _FFT)[:, : _FFT // 2]) ** 2
    energies: Features = np.log(np.maximum(power.astype(np.float32) @ _filters(), _FLOOR))
    return energies


@cache
def _window() -> Features:
    return np.hamming(FRAME).astype(np.float32)


@cache
def _filters() -> Features:
    """Return the weights of the spectrum's bins, shape (bins, MELS)."""

    def mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return 1127.0 * np.log1p(hertz / 700.0)

    edges = np.linspace(mel(np.array(_LOW)), mel(np.array(_HIGH)), MELS + 2)
    bins = mel(np.arange(_FFT // 2) * SAMPLE_RATE / _FFT)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)
