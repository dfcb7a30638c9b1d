"""Memory of processes, seen on a process that says what it does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import processes

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
MEGABYTES = 200
# A parent with one child. Each line from standard input makes the child fill its memory and free it again.
CHILD = f"for _ in iter(input, 'end'): x = b'1' * {MEGABYTES * 10**6}; del x; print('done', flush=True)"
PARENT = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {CHILD!r}, 'voice_stack.worker']))"


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        allocate(process)  # the child runs from here on
        yield process
        process.communicate("end\n")


def allocate(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    assert process.stdout
    print("go", file=process.stdin, flush=True)
    assert process.stdout.readline() == "done\n"


def test_the_tree_has_the_child_and_nobody_else(parent: subprocess.Popen[str]) -> None:
    first, child = processes.tree(parent.pid)
    assert first == parent.pid
    assert processes.tree(child) == [child]
    assert [processes.role(first), processes.role(child)] == ["api", "worker"]


def test_now_is_what_is_resident_now(parent: subprocess.Popen[str]) -> None:
    found = processes.now(parent.pid)
    assert set(found) == {"api", "worker"}
    assert all(1 < megabytes < MEGABYTES for megabytes in found.values())


def test_a_short_peak_is_not_missed(parent: subprocess.Popen[str]) -> None:
    with processes.watching(parent.pid) as watch:
        for _ in range(10):
            allocate(parent)
        while "worker" not in watch.samples:
            allocate(parent)
    assert MEGABYTES < watch.peaks["worker"] < 2 * MEGABYTES
    assert watch.peaks["api"] < MEGABYTES


def test_a_process_that_is_gone_has_no_memory() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        processes.memory(done.pid)
    assert processes.now(done.pid) == {}
