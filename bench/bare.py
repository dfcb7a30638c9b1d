"""An engine called in a process of its own without any service around it: what the service is measured against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.process import WORKER_ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Answer:
    """One call: its wall time in seconds and the text that came of it (for TTS the piece that was spoken)."""

    seconds: float
    text: str


class Bare:
    """A loaded engine in another process. Made by `started`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, value: str) -> Answer:
        """Transcribe the file, or begin to speak the text, called `value`."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        print(json.dumps(value), file=self._process.stdin, flush=True)
        answer = json.loads(self._line())
        return Answer(answer["seconds"], answer["result"])

    def wait(self) -> None:
        """Return once the engine is loaded."""
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the bare engine's process ended; what it logged is above")
        return line


@contextmanager
def started(kind: str, config: Mapping[str, Any]) -> Iterator[Bare]:
    """Start the process (kinds: bench.bare_child.KINDS), load the engine, and end it on leaving."""
    # Our own engine gets the environment it has in a worker; faster-whisper gets the plain one.
    environment = os.environ if kind == "faster-whisper" else {**os.environ, **WORKER_ENVIRONMENT}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare_child", json.dumps({"kind": kind, **config})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        bare = Bare(process)
        bare.wait()
        yield bare
    finally:
        process.kill()
        process.communicate()
