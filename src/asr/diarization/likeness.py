"""How alike two voices are, told by the vectors of one speaker encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asr.diarization.engine import Vector

Matrix = npt.NDArray[np.float64]
_TINY = 1e-8


def distance(one: Vector, other: Vector) -> float:
    """Return the cosine distance of two vectors of shape (size,): 0 for one direction, 2 for opposite ones."""
    return min(max(1.0 - float(np.dot(unit(one), unit(other))), 0.0), 2.0)


def confidence(found: float, threshold: float) -> float:
    """Return how sure it is that two voices are one person's: 100 at distance 0, 0 at the threshold (above 0)."""
    return min(max((1.0 - found / threshold) * 100.0, 0.0), 100.0)


def mean(vectors: Sequence[Vector]) -> Vector:
    """Return the direction of several vectors of one person, each of which counts alike, at length 1."""
    return unit(np.mean(unit(np.stack(vectors)), axis=0)).astype(np.float32)


def unit(vectors: npt.NDArray[np.floating]) -> Matrix:
    """Return vectors, shape (..., size), at length 1; those of length 0 stay."""
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Matrix = vectors / np.maximum(lengths, _TINY)
    return result
