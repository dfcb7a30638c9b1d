"""Diarization engines in processes of their own, as `make bench-diarization` calls them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.children import asked
from bench.conversations import Spoken
from core.model_entry import ModelRef
from core.process import WORKER_ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Found:
    """A diarization: its turns, the seconds it took, and the highest memory of the process so far in MB."""

    turns: tuple[Spoken, ...]
    seconds: float
    cpu_seconds: float
    peak_mb: float

    @property
    def speakers(self) -> int:
        """How many were told apart."""
        return len({who for _, _, who in self.turns})


@dataclass(frozen=True, slots=True)
class Voice:
    """The vector of a voice, and the seconds it took."""

    vector: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded engine; `facts` are what a worker says of it."""

    name: str
    facts: Mapping[str, Any]
    ask: Callable[[Any], Any]

    def diarize(self, path: Path) -> Found:
        """Tell who speaks in a 16 kHz WAV file."""
        found = self.ask({"method": "diarize", "path": str(path)})
        turns = tuple((start, end, str(int(who))) for start, end, who in found["answer"]["turns"])
        return Found(turns, found["seconds"], found["cpu_seconds"], found["peak_mb"])

    def embed(self, path: Path, frames: int | None = None) -> Voice | None:
        """Return the vector of the voice in a 16 kHz WAV file, or in its first samples; None for too little speech."""
        found = self.ask({"method": "embed", "path": str(path), "frames": frames})
        if found["answer"] is None:
            return None
        return Voice(tuple(found["answer"]["vector"]), found["seconds"])


@contextmanager
def loaded(model: ModelRef, *, threads: int, one_core: bool = False) -> Iterator[Engine]:
    """Load the engine of a model in a process that is bound to one core, where that is asked for."""
    engine = {
        "engine": model.engine,
        "model": str(model.path) if model.path else None,
        "model_id": model.id,
        "device": "cpu",
        "threads": threads,
    }
    config = {"engine": engine, "one_core": one_core}
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    with asked("bench.diarization_child", config, what=model.engine, environment=environment) as ask:
        yield Engine(model.engine, ask({"method": "facts"}), ask)
