"""Proof that the models of community-1 compute what they should: what they answered once to a signal made here.

The files' hashes are checked when they are pulled. This is about what becomes of them: other kernels of ONNX Runtime on
another processor or GPU, and files that changed since. `scripts/make_diarization_reference.py` writes the answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asr.diarization.engine import SAMPLE_RATE, Vector
from core.errors import ModelBroken
from utils.audio.pcm import Samples

Active = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Segment = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Which voices speak (above one half) in windows: (windows, 1, samples) to (windows, frames, voices)."""
Embed = Callable[[Samples], Vector]

STORED = Path(__file__).parent / "engines" / "community1_reference.json"
MOST_FRAMES_APART = 0.05
"""Share of the frames in which other voices may speak than in the stored answer: single ones are close decisions."""
LEAST_ALIKE = 0.98
"""Cosine similarity to the stored vector; two people's voices have less than 0.7."""
_HALF = 0.5
_DIGITS = 5

_LENGTH = 10 * SAMPLE_RATE
_ONE_VOICE = 5 * SAMPLE_RATE  # the samples up to here are of one voice
_STRETCH = 4.0  # seconds that each of the two voices talks
_STARTS = (0.5, 5.5)  # seconds
_PITCHES = (115.0, 205.0)  # Hz
_TRACTS = (1.0, 1.15)  # a shorter one has higher formants
_SYLLABLE = 0.25  # seconds
_REST = 6  # each so many syllables one is silent
_TOP = 4000.0  # Hz, no harmonics above
_PEAK = 0.3
_BREATH = 0.02  # noise beside the voice
# Formants of vowels in Hz: Peterson and Barney, Control methods used in a study of the vowels, 1952 (men).
_VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
_BANDWIDTHS = (80.0, 100.0, 140.0)
_GAINS = (1.0, 0.5, 0.25)


@dataclass(frozen=True, slots=True)
class Reference:
    """Answers to `signal()`: `active` has shape (frames, voices), `vector` (size,) and length 1."""

    active: Active
    vector: Vector

    @classmethod
    def of(cls, segment: Segment, embed: Embed) -> Reference:
        """Return what models answer."""
        return cls(_answer(segment), embed(signal()[:_ONE_VOICE]))

    @classmethod
    def read(cls, path: Path = STORED) -> Reference:
        """Return the answers that `write` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        active = np.zeros((data["frames"], len(data["voices"])), dtype=np.bool_)
        for voice, stretches in enumerate(data["voices"]):
            for first, end in stretches:
                active[first:end, voice] = True
        return cls(active, np.array(data["vector"], dtype=np.float32))

    def write(self, path: Path = STORED) -> None:
        """Write the answers: stretches of frames by voice, and the vector."""
        data: dict[str, Any] = {
            "frames": len(self.active),
            "voices": [_stretches(voice) for voice in self.active.T],
            "vector": [round(float(value), _DIGITS) for value in self.vector],
        }
        path.write_text(json.dumps(data) + "\n", encoding="utf-8")

    def check_activity(self, active: Active) -> None:
        """Raise ModelBroken unless nearly the same voices speak."""
        if active.shape != self.active.shape:
            raise ModelBroken(f"the segmentation model answers {active.shape} instead of {self.active.shape}")
        apart = float((active != self.active).any(axis=1).mean())
        if apart > MOST_FRAMES_APART:
            raise ModelBroken(f"the segmentation model hears other voices in {apart:.0%} of a known signal: {_CAUSES}")

    def check_vector(self, vector: Vector) -> None:
        """Raise ModelBroken unless the vector is nearly the same."""
        if vector.shape != self.vector.shape:
            raise ModelBroken(f"the speaker encoder answers {vector.shape} instead of {self.vector.shape}")
        alike = float(vector @ self.vector / (np.linalg.norm(vector) * np.linalg.norm(self.vector)))
        if not alike >= LEAST_ALIKE:  # NaN is not
            raise ModelBroken(f"the speaker encoder knows a known voice by {alike:.2f} only: {_CAUSES}")


_CAUSES = "its file is damaged (`voice-stack models verify`), or this ONNX Runtime computes something else"


def prove(*, segment: Segment | None = None, embed: Embed | None = None) -> None:
    """Raise ModelBroken unless the given models answer as those of diarization-community1 do.

    Models of the user's own answer differently and are not to be given.
    """
    stored = Reference.read()
    if segment is not None:
        stored.check_activity(_answer(segment))
    if embed is not None:
        stored.check_vector(embed(signal()[:_ONE_VOICE]))


@cache
def signal() -> Samples:
    """Return ten seconds in which two made voices talk one after the other; the same everywhere, read-only."""
    found = np.zeros(_LENGTH)
    for start, pitch, tract in zip(_STARTS, _PITCHES, _TRACTS, strict=True):
        voice = _voice(round(_STRETCH * SAMPLE_RATE), pitch, tract)
        first = round(start * SAMPLE_RATE)
        found[first : first + len(voice)] = voice
    samples = found.astype(np.float32)
    samples.setflags(write=False)
    return samples


def _answer(segment: Segment) -> Active:
    found: Active = segment(signal()[None, None])[0] > _HALF
    return found


def _voice(count: int, pitch: float, tract: float) -> Values:
    """Return samples of vowels: the harmonics of a wavering pitch through moving formants, syllable by syllable."""
    seconds = np.arange(count) / SAMPLE_RATE
    frequency = pitch * (1 + 0.08 * np.sin(2 * np.pi * 0.6 * seconds) - 0.03 * seconds)
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    formants = tract * _formants(seconds)
    voiced: Values = np.zeros(count)
    for harmonic in range(1, int(_TOP / pitch) + 1):
        voiced += _loudness(harmonic * frequency, formants) / harmonic * np.sin(harmonic * phase)
    voiced /= np.abs(voiced).max()
    found: Values = _PEAK * (voiced + _BREATH * _noise(count)) * _syllables(seconds) / (1 + _BREATH)
    return found


def _formants(seconds: Values) -> Values:
    """Return the formants at each moment, shape (formants, moments); they glide from vowel to vowel."""
    places = np.arange(int(seconds[-1] / _SYLLABLE) + 2)
    vowels = np.array([_VOWELS[place * 2 % len(_VOWELS)] for place in places], dtype=np.float64)
    return np.stack([np.interp(seconds, (places + 0.5) * _SYLLABLE, each) for each in vowels.T])


def _loudness(frequency: Values, formants: Values) -> Values:
    """Return how loud a harmonic comes through the formants, of shape (formants, moments)."""
    found: Values = np.zeros(len(frequency))
    for middle, width, gain in zip(formants, _BANDWIDTHS, _GAINS, strict=True):
        found += gain / (1 + ((frequency - middle) / width) ** 2)
    return found


def _syllables(seconds: Values) -> Values:
    """Return the loudness over time, from 0 to 1."""
    place = (seconds / _SYLLABLE).astype(np.int64)
    found: Values = np.sin(np.pi * seconds / _SYLLABLE) ** 2 * (place % _REST != _REST - 1)
    return found


def _noise(count: int) -> Values:
    """Return noise in [-1, 1) that does not depend on a library's generator: a hash of the sample's number."""
    found = np.arange(count, dtype=np.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        found ^= found >> np.uint32(shift)
        found *= np.uint32(factor)
    found ^= found >> np.uint32(16)
    result: Values = found.astype(np.float64) / 2.0**31 - 1.0
    return result


def _stretches(active: Active) -> list[list[int]]:
    """Return the first frame of each stretch in which a voice speaks, and the one behind it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]]).astype(np.int8)))
    found: list[list[int]] = edges.reshape(-1, 2).tolist()
    return found
