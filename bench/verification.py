"""How well the vectors of voices tell people apart: distances of all pairs, and the errors at a threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Distances = npt.NDArray[np.float64]


def pairs(vectors: Sequence[Sequence[float]], speakers: Sequence[str]) -> tuple[Distances, Distances]:
    """Return the cosine distances of all pairs of one speaker, and of all pairs of two."""
    matrix = np.asarray(vectors, dtype=np.float64)
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    distances = 1.0 - matrix @ matrix.T
    names = np.asarray(speakers)
    first, second = np.triu_indices(len(names), k=1)
    one_voice = names[first] == names[second]
    found = distances[first, second]
    return found[one_voice], found[~one_voice]


def errors(same: Distances, other: Distances, threshold: float) -> tuple[float, float]:
    """Return the percent of pairs of one speaker that are rejected, and of pairs of two that are accepted.

    A pair is accepted up to a distance of `threshold`.
    """
    return 100 * float(np.mean(same > threshold)), 100 * float(np.mean(other <= threshold))


def equal_error_rate(same: Distances, other: Distances) -> float:
    """Return the percent of errors at the threshold at which both kinds are as many; ValueError without both."""
    if not len(same) or not len(other):
        raise ValueError("an equal error rate needs pairs of one speaker and of two")
    found = [errors(same, other, threshold) for threshold in np.concatenate([same, other])]
    rejected, accepted = min(found, key=lambda both: abs(both[0] - both[1]))
    return (rejected + accepted) / 2
