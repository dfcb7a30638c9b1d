"""What the C library does with memory that has been freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_MOST = 1 << 30
_MMAP_MOST = _MOST, 32 << 20  # what glibc before 2.35 takes at most


def keep() -> None:
    """Keep what is freed for the next who needs it, from now on; a no-op where the C library is not glibc.

    By default it goes back to the operating system in large parts, and each part is paid for with page faults (some
    30 ms per 100 MB) when it is needed again: for work that needs the same much every second.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Either of them alone ends that glibc finds its own thresholds, which then are worse than before.
    if mallopt is not None and any(mallopt(_MMAP_THRESHOLD, size) for size in _MMAP_MOST):
        mallopt(_TRIM_THRESHOLD, _MOST)


def trim() -> None:
    """Give what is free back to the operating system, holes between what is in use included; a no-op without glibc.

    It takes some 15 ms, in which no other thread gets memory, and what is needed again is paid for as in `keep`.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
