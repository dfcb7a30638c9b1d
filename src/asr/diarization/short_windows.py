"""Speakers by short windows of speech, each with the vector of one voice; without speech that overlaps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from asr.diarization.clustering import averages, nearest, split
from asr.diarization.engine import Diarization, DiarizeOptions, Turn
from asr.diarization.likeness import Matrix, unit
from asr.diarization.shares import unheard
from asr.diarization.timeline import cleaned_exclusive, numbered
from utils.audio.spans import Span


@dataclass(frozen=True, slots=True)
class Window:
    """A short window of speech: heard from `start` to `end`, it tells who talks from `begin` to `until`; seconds."""

    start: float
    end: float
    begin: float
    until: float

    @property
    def duration(self) -> float:
        """Seconds that are heard."""
        return self.end - self.start


def cut_up(speech: Iterable[Span], *, size: float, step: float) -> Iterator[Window]:
    """Yield windows of `size` seconds, at most `step` from one to the next, that cover the speech.

    A span that is shorter is one window. Between two windows of a span, each tells of what is nearer to its middle.
    """
    for span in speech:
        count = 1 if span.duration <= size else 1 + int(np.ceil((span.duration - size) / step))
        starts = np.linspace(span.start, max(span.end - size, span.start), count).tolist()
        length = min(size, span.duration)
        edges = [(one + other + length) / 2 for one, other in pairwise(starts)]
        for start, begin, until in zip(starts, [span.start, *edges], [*edges, span.end], strict=True):
            yield Window(start, min(start + size, span.end), begin, until)


def diarized(
    windows: Sequence[Window],
    embeddings: Matrix,
    options: DiarizeOptions,
    *,
    threshold: float,
    least: float,
    progress: Callable[[float], None] = unheard,
) -> Diarization:
    """Return who speaks when, of windows and their vectors, shape (windows, size).

    Speakers are the clusters of the vectors whose windows have `least` seconds (of all where none has), by the cosine
    distance `threshold` unless the options have another; a shorter window is said by whom it is most alike.
    What `progress` raises ends the work.
    """
    if not windows:
        return Diarization(turns=(), exclusive=())
    sure = np.array([window.duration >= least for window in windows])
    if not sure.any():
        sure[:] = True
    vectors = unit(embeddings)
    distance = threshold if options.threshold is None else options.threshold
    clusters = split(vectors[sure], distance, options, progress=progress)
    centroids = averages(vectors[sure], clusters)
    labels = nearest(vectors, centroids)
    labels[sure] = clusters
    found = [Turn(window.begin, window.until, label) for window, label in zip(windows, labels.tolist(), strict=True)]
    turns, numbers = numbered(cleaned_exclusive(found, min_on=options.min_on, min_off=options.min_off))
    return Diarization(
        turns=tuple(turns),
        exclusive=tuple(turns),
        embeddings={number: unit(centroids[label]).astype(np.float32) for label, number in numbers.items()},
    )
