"""Rounds and statistics: sides measured in turn, their order rotated, and what is made of the samples."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
SETTLE_SECONDS = 0.4
"""Between two samples. OpenMP and ONNX Runtime threads spin for up to 0.2 s after their work and would disturb."""


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Return the items starting with the one at `by`, so that over the rounds each comes first equally often."""
    by %= len(items) or 1
    return [*items[by:], *items[:by]]


def interleave(
    sides: Mapping[str, Callable[[], T]], *, rounds: int, warm_up: int, tick: Callable[[], None], settle: float
) -> dict[str, list[T]]:
    """Call every side once a round and return what each gave; never two at once. Warm-up rounds are not kept."""
    kept: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(-warm_up, rounds):
        for name in rotated(list(sides), number):
            time.sleep(settle)
            sample = sides[name]()
            if number >= 0:
                kept[name].append(sample)
            tick()
    return kept


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Return the ratio of the medians."""
    return statistics.median(numerator) / statistics.median(denominator)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` of a hundred do not exceed; ValueError for no samples."""
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(math.ceil(len(samples) * percent / 100), 1) - 1]
