"""Folders in which a service comes and goes while a test looks."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def contents(folder: Path) -> dict[Path, bytes]:
    """Return what the files below a folder hold, without those that go away meanwhile.

    `Path.rglob` raises instead where a folder goes (before Python 3.13).
    """
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found[Path(at, name)] = Path(at, name).read_bytes()
    return found
