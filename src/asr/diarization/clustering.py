"""Speakers of a recording, from embeddings of its windows: how many there are, and who is who in each window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from asr.diarization.vbx import Matrix, Plda, refine, unit

Labels = npt.NDArray[np.int64]
NOBODY = -1
"""The speaker of a voice that nobody has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustering:
    """Agglomerative clusters, refined by VBx, and merged where their centroids are alike.

    `threshold` is the distance of unit vectors up to which clusters grow (average of two: centroid linkage), `merge`
    the cosine similarity above which two speakers are the same one. `fa` and `fb`: see vbx.refine.
    """

    threshold: float = 0.6
    fa: float = 0.10
    fb: float = 0.8
    merge: float = 0.72

    def centroids(
        self, embeddings: Matrix, plda: Plda, *, least: int = 1, most: int | None = None, count: int | None = None
    ) -> Matrix:
        """Return a vector for each speaker, shape (speakers, size), of embeddings of shape (count, size).

        There are from `least` to `most` speakers, or `count` of them, as far as there are embeddings.
        """
        labels = grow(embeddings, self.threshold)
        belongs = refine(plda(embeddings), plda.between, labels, fa=self.fa, fb=self.fb)
        found = means(embeddings, belongs)
        found = merged(found, belongs.sum(axis=0), self.merge)
        wanted = _wanted(len(found), least=count or least, most=count or most, there=len(embeddings))
        if wanted == len(found):
            return found
        labels = cut(embeddings, wanted)
        return means(embeddings, np.eye(wanted)[labels])


def grow(embeddings: Matrix, threshold: float) -> Labels:
    """Return the cluster of each embedding, numbered from 0: those nearer than `threshold` grow together."""
    if len(embeddings) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = linkage(unit(embeddings), method="centroid")
    labels: Labels = fcluster(tree, threshold, criterion="distance").astype(np.int64) - 1
    return labels


def cut(embeddings: Matrix, count: int) -> Labels:
    """Return `count` clusters of embeddings, numbered from 0, each at the average distance of its members."""
    if len(embeddings) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = linkage(unit(embeddings), method="average", metric="cosine")
    labels: Labels = fcluster(tree, count, criterion="maxclust").astype(np.int64) - 1
    return labels


def means(embeddings: Matrix, belongs: Matrix) -> Matrix:
    """Return the weighted mean of the embeddings of each speaker."""
    result: Matrix = (belongs.T @ embeddings) / belongs.sum(axis=0)[:, None]
    return result


def merged(centroids: Matrix, weights: Matrix, least: float) -> Matrix:
    """Return centroids of which no two have a cosine similarity above `least`: the most alike become one first."""
    centroids, weights = centroids.copy(), weights.copy()
    while len(centroids) > 1:
        alike = unit(centroids) @ unit(centroids).T
        np.fill_diagonal(alike, -1)
        one, other = divmod(int(alike.argmax()), len(alike))
        if alike[one, other] <= least:
            break
        both = weights[one] + weights[other]
        centroids[one] = (weights[one] * centroids[one] + weights[other] * centroids[other]) / both
        weights[one] = both
        centroids, weights = np.delete(centroids, other, axis=0), np.delete(weights, other)
    return centroids


def assign(embeddings: Matrix, speaks: npt.NDArray[np.bool_], centroids: Matrix) -> Labels:
    """Return which speaker each voice of each window is, NOBODY where it does not speak; shape (windows, voices).

    `embeddings` has shape (windows, voices, size), NaN where there is none. Two voices of a window are two speakers:
    together they are as near to their centroids as can be.
    """
    windows, voices, size = embeddings.shape
    flat = np.nan_to_num(embeddings.reshape(-1, size))
    likeness = 1 - cdist(flat, centroids, metric="cosine").reshape(windows, voices, -1)
    likeness = np.where(np.isfinite(likeness) & speaks[..., None], likeness, -2.0)
    labels = np.full((windows, voices), NOBODY, dtype=np.int64)
    for window in range(windows):
        rows, columns = linear_sum_assignment(likeness[window], maximize=True)
        labels[window, rows] = columns
    labels[~speaks] = NOBODY
    return labels


def _wanted(found: int, *, least: int, most: int | None, there: int) -> int:
    return max(1, min(max(found, least), most or there, there))
