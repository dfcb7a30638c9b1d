"""The speaker encoder of Resemblyzer in numpy: three layers of LSTM over mel energies, trained with the GE2E loss.

Wan, Wang, Papir, Lopez Moreno: Generalized end-to-end loss for speaker verification, 2018,
https://arxiv.org/abs/1710.10467. The energies are librosa's with Slaney's scale, not their logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from asr.diarization.engine import SAMPLE_RATE, Vector
from asr.diarization.likeness import unit
from utils.audio.pcm import Samples

FRAME, SHIFT = 400, 160
"""Samples of a frame, and from one to the next."""
MELS = 40
WINDOW = 160 * SHIFT
"""Samples of which a vector is made: what the network was trained on."""
LOUDNESS = 10 ** (-30 / 20)
"""Root mean square to which what is quieter is amplified first."""
_LAYERS = 3
_BATCH = 32

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer: `given` (inputs, 4 * width), `before` (width, 4 * width), `bias` (4 * width,); in torch's order."""

    given: Floats
    before: Floats
    bias: Floats

    def __call__(self, inputs: Floats) -> Floats:
        """Return the states of all steps, shape (steps, batch, width), of inputs (steps, batch, inputs)."""
        width = len(self.before)
        driven = inputs @ self.given + self.bias
        states = np.empty((*inputs.shape[:2], width), dtype=np.float32)
        state = np.zeros((inputs.shape[1], width), dtype=np.float32)
        cell = np.zeros_like(state)
        for step in range(len(inputs)):
            gates = driven[step] + state @ self.before
            new, kept = _sigmoid(gates[:, :width]), _sigmoid(gates[:, width : 2 * width])
            cell = kept * cell + new * np.tanh(gates[:, 2 * width : 3 * width])
            state = _sigmoid(gates[:, 3 * width :]) * np.tanh(cell)
            states[step] = state
        return states


class Ge2eNetwork:
    """Makes vectors of windows. `state` has the tensors by the names that Resemblyzer gives them.

    Raises KeyError for one that is missing, ValueError for shapes that do not fit each other.
    """

    def __init__(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._layers = [_layer(state, number) for number in range(_LAYERS)]
        self._matrix = state["linear.weight"].astype(np.float32).T
        self._bias = state["linear.bias"].astype(np.float32)
        inputs = [MELS, *(len(layer.before) for layer in self._layers)]
        shapes = [(layer.given.shape, layer.before.shape, layer.bias.shape) for layer in self._layers]
        wanted = [((given, 4 * width), (width, 4 * width), (4 * width,)) for given, width in pairwise(inputs)]
        if shapes != wanted or self._matrix.shape != (inputs[-1], len(self._bias)):
            raise ValueError("the layers do not fit each other")
        self.size = len(self._bias)

    def __call__(self, windows: Sequence[Samples]) -> Vector:
        """Return the vectors of windows, shape (windows, size), at length 1.

        Each window is (samples,), up to WINDOW of them and the half frames before and after: WINDOW + FRAME - SHIFT.
        The last whole frame of each is where its vector is taken.
        """
        found = np.zeros((len(windows), self.size), dtype=np.float32)
        for first in range(0, len(windows), _BATCH):
            energies = [mel(samples) for samples in windows[first : first + _BATCH]]
            found[first : first + _BATCH] = self._vectors(energies)
        return found

    def _vectors(self, energies: Sequence[Floats]) -> Vector:
        lengths = np.array([len(one) for one in energies])
        states: Floats = np.zeros((int(lengths.max()), len(energies), MELS), dtype=np.float32)
        for index, one in enumerate(energies):
            states[: len(one), index] = one
        for layer in self._layers:
            states = layer(states)
        last = states[lengths - 1, np.arange(len(energies))]
        return unit(np.maximum(last @ self._matrix + self._bias, 0)).astype(np.float32)


def mel(samples: Samples) -> Floats:
    """Return the mel energies of 16 kHz samples, shape (frames that fit whole, at least one; MELS)."""
    padded = np.pad(samples, (0, max(FRAME - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::SHIFT]
    power = np.abs(np.fft.rfft(frames * _window(), axis=1)) ** 2
    energies: Floats = power.astype(np.float32) @ _filters()
    return energies


def gain(power: float) -> float:
    """Return the factor that makes speech of a mean square as loud as LOUDNESS; 1 for what is louder, and silence."""
    return max(1.0, LOUDNESS / power**0.5) if power > 0 else 1.0


def _layer(state: Mapping[str, npt.NDArray[Any]], number: int) -> _Layer:
    given, before, one, other = (
        state[f"lstm.{name}_l{number}"].astype(np.float32) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return _Layer(np.ascontiguousarray(given.T), np.ascontiguousarray(before.T), one + other)


def _sigmoid(values: Floats) -> Floats:
    # As a hyperbolic tangent it does not overflow.
    result: Floats = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * values))
    return result


@cache
def _window() -> Floats:
    return np.hanning(FRAME + 1)[:-1].astype(np.float32)


@cache
def _filters() -> Floats:
    """Return the weights of the spectrum's bins, shape (bins, MELS): triangles of equal area on Slaney's scale."""
    linear, start, logarithmic = 200 / 3, 15.0, np.log(6.4) / 27  # Hz per mel below 1 kHz, which is 15; above it
    top = start + np.log(SAMPLE_RATE / 2 / 1000) / logarithmic
    mels = np.linspace(0, top, MELS + 2)
    edges = np.where(mels < start, mels * linear, 1000 * np.exp(logarithmic * (mels - start)))
    bins = np.linspace(0, SAMPLE_RATE / 2, FRAME // 2 + 1)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    weights: Floats = (np.maximum(np.minimum(rising, falling), 0) * 2 / (high - low)).astype(np.float32)
    return weights
