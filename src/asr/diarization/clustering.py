"""Speakers of a recording, from embeddings of its windows: how many there are, and who is who in each window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from asr.diarization.engine import DiarizeOptions
from asr.diarization.likeness import Matrix, unit
from asr.diarization.shares import part, unheard
from asr.diarization.vbx import Plda, refine

Labels = npt.NDArray[np.int64]
NOBODY = -1
"""The speaker of a voice that nobody has."""
_GROWN = 0.7  # share of the work that is done when there are clusters, of whatever number
_LEAST_MEMBERS, _LEAST_SHARE = 3, 0.1  # what a cluster must have of the embeddings to be a speaker; the smaller of both
PORTION = 2500
"""Embeddings in one tree: half an hour of windows. A tree takes the square of it in time and memory."""


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
        self,
        embeddings: Matrix,
        plda: Plda,
        options: DiarizeOptions,
        *,
        progress: Callable[[float], None] = unheard,
    ) -> Matrix:
        """Return a vector for each speaker, shape (speakers, size), of embeddings of shape (count, size).

        There are as many as the options say, as far as there are embeddings that differ; one embedding at least is
        needed. Long recordings are taken in portions, whose speakers are joined where their centroids are alike.
        `progress` is told the share that is done; what it raises ends the work.
        """
        parts = [embeddings[portion] for portion in portions(len(embeddings))]
        each = []
        for index, portion in enumerate(parts):
            progress(_GROWN * index / len(parts))
            each.append(self._refined(portion, plda, grow(portion, self.threshold)))
        progress(_GROWN)
        found = merged(np.concatenate([one for one, _ in each]), np.concatenate([one for _, one in each]), self.merge)
        if len(parts) > 1:
            again, weights = self._refined(embeddings, plda, nearest(embeddings, found))
            found = merged(again, weights, self.merge)
        wanted = _wanted(len(found), options, there=len(embeddings))
        if wanted == len(found):
            return found
        return averages(embeddings, cut(embeddings, wanted, progress=part(progress, _GROWN, 1)))

    def _refined(self, embeddings: Matrix, plda: Plda, labels: Labels) -> tuple[Matrix, Matrix]:
        """Return the centroids that VBx finds, (speakers, size), and how many embeddings each has, (speakers,)."""
        belongs = refine(plda(embeddings), plda.between, labels, fa=self.fa, fb=self.fb)
        weights = belongs.sum(axis=0)
        return (belongs.T @ embeddings) / weights[:, None], weights


def portions(count: int) -> Iterator[slice]:
    """Yield slices of much the same length, at most PORTION, that are `count` together."""
    parts = max(-(-count // PORTION), 1)
    edges = [count * part // parts for part in range(parts + 1)]
    yield from (slice(first, last) for first, last in pairwise(edges))


def grow(embeddings: Matrix, threshold: float) -> Labels:
    """Return the cluster of each embedding, numbered from 0: those nearer than `threshold` grow together."""
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415 - in worker processes alone

    if len(embeddings) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = linkage(unit(embeddings), method="centroid")
    labels: Labels = fcluster(tree, threshold, criterion="distance").astype(np.int64) - 1
    return labels


def cut(embeddings: Matrix, count: int, *, progress: Callable[[float], None] = unheard) -> Labels:
    """Return `count` clusters of embeddings, numbered from 0; fewer where not so many differ.

    Two clusters are as far apart as their members are on average, by cosine distance.
    """
    small = _condensed(embeddings, progress)
    return _tree(averages(embeddings, small), count, "maxclust")[small]


def split(
    embeddings: Matrix,
    threshold: float,
    options: DiarizeOptions,
    *,
    progress: Callable[[float], None] = unheard,
) -> Labels:
    """Return the clusters of embeddings, numbered from 0: as `cut`, those nearer than `threshold` are one.

    A cluster of very few is noise, not a speaker: they go to the nearest other one. There are as many clusters as the
    options say, whatever the threshold.
    """
    small = _condensed(embeddings, progress)
    points = averages(embeddings, small)
    # Of unit vectors, the square of the distance is twice the cosine distance.
    labels = _without_few(embeddings, _tree(points, 2 * threshold, "distance")[small])
    found = int(labels.max()) + 1
    wanted = _wanted(found, options, there=len(points))
    return labels if wanted == found else _tree(points, wanted, "maxclust")[small]


def _without_few(embeddings: Matrix, labels: Labels) -> Labels:
    """Return clusters, numbered from 0, of which each has enough members; the largest stays in any case."""
    members = np.bincount(labels)
    least = min(_LEAST_MEMBERS, max(round(_LEAST_SHARE * len(labels)), 1), int(members.max()))
    large = np.flatnonzero(members >= least)
    return np.where(
        members[labels] >= least,
        np.searchsorted(large, labels),
        nearest(embeddings, averages(embeddings, labels)[large]),
    )


def _condensed(embeddings: Matrix, progress: Callable[[float], None]) -> Labels:
    """Return groups of embeddings that are much alike, as many as a tree should have; few ones are a group each."""
    if len(embeddings) <= PORTION:
        return np.arange(len(embeddings), dtype=np.int64)
    parts = list(portions(len(embeddings)))
    labels = np.empty(len(embeddings), dtype=np.int64)
    count = 0
    for index, portion in enumerate(parts):
        progress(index / len(parts))
        labels[portion] = count + _tree(embeddings[portion], max(PORTION // len(parts), 1), "maxclust")
        count = int(labels[portion].max()) + 1
    return labels


def _tree(embeddings: Matrix, value: float, criterion: str) -> Labels:
    """Return what scipy's fcluster makes of the tree of average distances, numbered from 0."""
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415 - in worker processes alone

    if len(embeddings) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = linkage(unit(embeddings), method="average", metric="sqeuclidean")
    labels: Labels = fcluster(tree, value, criterion=criterion).astype(np.int64) - 1
    return labels


def averages(embeddings: Matrix, labels: Labels) -> Matrix:
    """Return the mean of the embeddings of each cluster, (clusters, size); none up to the last may be empty."""
    sums = np.zeros((int(labels.max()) + 1, embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    result: Matrix = sums / np.bincount(labels)[:, None]
    return result


def nearest(embeddings: Matrix, centroids: Matrix) -> Labels:
    """Return which of the centroids each embedding is most alike, by cosine similarity."""
    labels: Labels = (unit(embeddings) @ unit(centroids).T).argmax(axis=1)
    return labels


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


def assign(embeddings: npt.NDArray[np.floating], speaks: npt.NDArray[np.bool_], centroids: Matrix) -> Labels:
    """Return which speaker each voice of each window is, NOBODY where it does not speak; shape (windows, voices).

    `embeddings` has shape (windows, voices, size), NaN where there is none. Two voices of a window are two speakers:
    together they are as near to their centroids as can be. Where there are more voices than speakers, somebody is left.
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 - in worker processes alone

    windows, voices, _ = embeddings.shape
    people = unit(centroids)
    labels = np.full((windows, voices), NOBODY, dtype=np.int64)
    for window in range(windows):
        alike = np.where(speaks[window, :, None], unit(np.nan_to_num(embeddings[window])) @ people.T, -2.0)
        rows, columns = linear_sum_assignment(alike, maximize=True)
        labels[window, rows] = columns
    labels[~speaks] = NOBODY
    return labels


def _wanted(found: int, options: DiarizeOptions, *, there: int) -> int:
    least = options.num_speakers or options.min_speakers or 1
    most = options.num_speakers or options.max_speakers or there
    return max(1, min(max(found, least), most, there))
