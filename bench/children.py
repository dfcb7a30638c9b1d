"""Processes that a benchmark starts: those that answer one JSON line with another, and how any of them is ended."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 30.0


@contextmanager
def asked(
    module: str, config: Mapping[str, Any], *, what: str, environment: Mapping[str, str] | None = None
) -> Iterator[Callable[[Any], Any]]:
    """Run a module with its configuration, wait for its first line, and yield the function that asks it something.

    `what` it is goes into the RuntimeError that is raised when it ends before it has answered.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, json.dumps(dict(config))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert process.stdin is not None  # noqa: S101 - a pipe
    assert process.stdout is not None  # noqa: S101 - a pipe
    stdin, stdout = process.stdin, process.stdout

    def line() -> str:
        if not (found := stdout.readline()):
            raise RuntimeError(f"the process of {what} ended; what it logged is above")
        return found

    def ask(question: Any) -> Any:
        print(json.dumps(question), file=stdin, flush=True)
        return json.loads(line())

    try:
        line()
        yield ask
    finally:
        process.kill()
        process.communicate()


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End a process on leaving, at the latest STOP_SECONDS after it was asked to."""
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()
