"""Progress of work that has parts: each tells its own share from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable


def part(progress: Callable[[float], None], first: float, last: float) -> Callable[[float], None]:
    """Return a function that is told the share of a part, and tells `progress` that of all; from `first` to `last`."""
    return lambda share: progress(first + (last - first) * share)


def unheard(share: float) -> None:
    """Tell nobody how far the work is."""
    del share
