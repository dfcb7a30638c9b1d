"""What the C library does with memory that has been freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_BYTES = 1 << 30


def keep() -> None:
    """Keep what is freed for the next who needs it, from now on; a no-op where the C library is not glibc.

    By default it goes back to the operating system in large parts, and each part is paid for with page faults (some
    30 ms per 100 MB) when it is needed again: for work that needs the same much every second.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _BYTES)
        mallopt(_TRIM_THRESHOLD, _BYTES)
