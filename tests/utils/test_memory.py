"""What the C library is asked for, whatever release it has."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from utils import memory

MIB = 1 << 20


def asked(monkeypatch: pytest.MonkeyPatch, most: int) -> list[tuple[int, int]]:
    """What `keep` sets where mmap thresholds up to `most` are accepted."""
    accepted: list[tuple[int, int]] = []

    def mallopt(what: int, value: int) -> int:
        if what == memory._MMAP_THRESHOLD and value > most:
            return 0
        accepted.append((what, value))
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    memory.keep()
    return accepted


@pytest.mark.parametrize(("most", "taken"), [(1 << 40, 1024 * MIB), (32 * MIB, 32 * MIB)])
def test_large_parts_are_kept_as_far_as_the_release_allows(
    most: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(monkeypatch, most) == [(memory._MMAP_THRESHOLD, taken), (memory._TRIM_THRESHOLD, 1024 * MIB)]


def test_nothing_is_set_where_no_threshold_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, 0) == []


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    memory.keep()
    memory.trim()


HOLES = """
from pathlib import Path
from utils import memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

memory.keep()
blocks = [bytearray(b"x" * (1 << 20)) for _ in range(100)]
del blocks[:-1:2]
before = resident()
memory.trim()
print(before - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_is_free_between_what_is_in_use_goes_back() -> None:
    freed = subprocess.run([sys.executable, "-c", HOLES], check=True, capture_output=True, text=True).stdout
    assert int(freed) > 40 * MIB
