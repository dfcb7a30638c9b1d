"""A letter is a tone: its pitch says which one, the band of the pitch says who whistles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

RATE = 16_000
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
STEP = 40.0
"""Hz between two letters."""
BASES = {"low": 500.0, "high": 2500.0}
"""Hz of the first letter, by whistler."""
TONE, LETTER_GAP, WORD_GAP = 0.08, 0.04, 0.24
"""Seconds at speed 1."""
_CELL = RATE // 200
_TRANSFORM = 16_384


@dataclass(frozen=True, slots=True)
class Tone:
    """A letter that somebody whistles from `start` to `end`, in seconds."""

    letter: str
    whistler: str
    start: float
    end: float


def pitch(letter: str, whistler: str) -> float:
    """Return the pitch of a letter in Hz."""
    return BASES[whistler] + STEP * LETTERS.index(letter)


def tones(samples: npt.NDArray[np.float32], threshold: float, offset: float = 0.0) -> Iterator[Tone]:
    """Find the letters in samples at 16 kHz that begin `offset` seconds into a recording."""
    cells = np.abs(samples[: len(samples) // _CELL * _CELL]).reshape(-1, _CELL)
    loud = np.concatenate([[False], cells.max(axis=1, initial=0.0) > threshold, [False]])
    edges = np.flatnonzero(np.diff(loud.astype(np.int8))) * _CELL
    for first, last in list(pairwise(edges.tolist()))[::2]:
        if (found := _letter(samples[first:last])) is not None:
            yield Tone(*found, offset + first / RATE, offset + last / RATE)


def _letter(samples: npt.NDArray[np.float32]) -> tuple[str, str] | None:
    """Return the letter of a tone and its whistler; None for a sound that is none."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), _TRANSFORM))
    heard = float(spectrum.argmax()) * RATE / _TRANSFORM
    for whistler, base in BASES.items():
        number = round((heard - base) / STEP)
        if 0 <= number < len(LETTERS):
            return LETTERS[number], whistler
    return None
