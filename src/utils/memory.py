"""Giving freed memory back to the operating system, which the C library would rather keep."""

from __future__ import annotations

import ctypes
import gc


def trim() -> None:
    """Return what has been freed since; a no-op where the C library is not glibc.

    The next user of the memory pays for it with page faults (some 30 ms per 100 MB): not for short work.
    """
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
