"""Variational Bayes clustering of speaker embeddings (VBx) and the PLDA model it needs; numpy and scipy only.

Landini, Profant, Diez, Burget: Bayesian HMM clustering of x-vector sequences (VBx) in speaker diarization, 2022,
https://arxiv.org/abs/2012.14952. Here without transitions between speakers: embeddings of overlapping windows come in
no order of turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.diarization.likeness import Matrix, unit

_ROUNDS = 20
_ENOUGH = 1e-4
_START = 7.0  # how sure of the initial clusters one is: logits of what they say
_NOBODY = 1e-7
_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class Plda:
    """Turns embeddings into a space where those of one speaker have unit variance and speakers have `between`.

    `between` has shape (size,), in falling order.
    """

    mean1: Matrix
    mean2: Matrix
    lda: Matrix
    mean: Matrix
    transform: Matrix
    between: Matrix

    @classmethod
    def read(cls, *, mean1: Matrix, mean2: Matrix, lda: Matrix, mu: Matrix, tr: Matrix, psi: Matrix) -> Plda:
        """Return the model of Kaldi's parameters: `mu` (m,), `tr` (m, m), `psi` (m,), and those of LDA before it.

        `mean1` (n,) and `mean2` (m,) are taken off before and after `lda` (n, m).
        """
        from scipy.linalg import eigh  # noqa: PLC0415 - in worker processes alone

        within = np.linalg.inv(tr.T @ tr)
        between = np.linalg.inv((tr.T / psi) @ tr)
        values, vectors = eigh(between, within)
        return cls(mean1=mean1, mean2=mean2, lda=lda, mean=mu, transform=vectors.T[::-1], between=values[::-1])

    def __call__(self, embeddings: Matrix) -> Matrix:
        """Return embeddings of shape (count, n) in that space, shape (count, m)."""
        size, reduced = self.lda.shape
        centred = np.sqrt(size) * unit(embeddings - self.mean1)
        found = np.sqrt(reduced) * unit(centred @ self.lda - self.mean2)
        result: Matrix = (found - self.mean) @ self.transform.T
        return result


def refine(points: Matrix, between: Matrix, labels: npt.NDArray[np.integer], *, fa: float, fb: float) -> Matrix:
    """Return how much each point belongs to each speaker, shape (points, speakers found), beginning with `labels`.

    `points` are in the space of Plda. `fa` scales what the points say, against that they are not independent; a larger
    `fb` finds fewer speakers.
    """
    from scipy.special import logsumexp, softmax  # noqa: PLC0415 - in worker processes alone

    belongs = softmax(_START * np.eye(labels.max() + 1)[labels], axis=1)
    weights = np.full(belongs.shape[1], 1 / belongs.shape[1])
    scaled = points * np.sqrt(between)
    constant = -0.5 * (np.sum(points**2, axis=1, keepdims=True) + points.shape[1] * np.log(2 * np.pi))
    before = -np.inf
    for _ in range(_ROUNDS):
        precision = 1 / (1 + fa / fb * belongs.sum(axis=0)[:, None] * between)
        means = fa / fb * precision * (belongs.T @ scaled)
        likely = fa * (scaled @ means.T - 0.5 * (precision + means**2) @ between + constant)
        joint = likely + np.log(weights + _TINY)
        evidence = logsumexp(joint, axis=1, keepdims=True)
        belongs = np.exp(joint - evidence)
        weights = belongs.sum(axis=0) / len(points)
        bound = float(evidence.sum() + fb * 0.5 * np.sum(np.log(precision) - precision - means**2 + 1))
        if bound - before < _ENOUGH:
            break
        before = bound
    found: Matrix = belongs[:, weights > _NOBODY]
    return found
