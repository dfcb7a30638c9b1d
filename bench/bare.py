"""An engine called in a process of its own without any service around it: what the service is measured against."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from bench.children import asked
from core.process import WORKER_ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Answer:
    """One call: its wall time in seconds and the text that came of it (for TTS the piece that was spoken)."""

    seconds: float
    text: str


Bare: TypeAlias = Callable[[str], Answer]
"""A loaded engine in another process: transcribes the file, or begins to speak the text, that it is given."""


@contextmanager
def started(kind: str, config: Mapping[str, Any]) -> Iterator[Bare]:
    """Start the process (kinds: bench.bare_child.KINDS), load the engine, and end it on leaving."""
    # Our own engine gets the environment it has in a worker; faster-whisper gets the plain one.
    environment = os.environ if kind == "faster-whisper" else {**os.environ, **WORKER_ENVIRONMENT}
    with asked("bench.bare_child", {"kind": kind, **config}, what="the bare engine", environment=environment) as ask:

        def call(value: str) -> Answer:
            found = ask(value)
            return Answer(found["seconds"], found["result"])

        yield call
