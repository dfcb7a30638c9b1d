"""How much `make bench-diarization` measures, and with which models."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import results
from bench.asr_sides import COMPUTE_TYPE
from bench.parts import code
from bench.plan import ASR_MODEL
from bench.speech import Clip
from core.catalogue import Catalogue
from core.devices import usable_cores
from core.errors import ModelNotFound
from core.model_entry import ModelRef, Task
from core.settings import Places

PARTS = ("der", "counts", "speed", "memory", "voices", "known", "both")
TASK: Task = "speaker-diarization"
OURS, FAST, GE2E = "community1", "fast", "ge2e"
MODELS: Mapping[str, str] = {OURS: "diarization-community1", FAST: "wespeaker-resnet34-lm", GE2E: "ge2e"}
"""The catalogue's models by engine; all but the first are what it is compared with."""


@dataclass(frozen=True, slots=True)
class DiarizationPlan:
    """Models by engine, rounds and lengths. `settings` are those of our service that are not at their default."""

    models: Mapping[str, ModelRef]
    threads: int
    settings: Mapping[str, str]
    parts: tuple[str, ...] = PARTS
    quick: bool = False
    rounds: int = 3
    hour_seconds: float = 3600.0
    voice_seconds: tuple[float | None, ...] = (None, 3.0, 2.0)
    """How much of each clip makes the vector of a voice; None: all of it."""
    reference_seconds: float = 5.0
    facts: Mapping[str, str | int] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> DiarizationPlan:
        """Return the plan that QUICK and CELLS ask for.

        ValueError for an unknown part, ModelNotFound without community1's model; other engines without theirs are left
        out.
        """
        catalogue = Catalogue.load(Places().cache)
        found = {OURS: catalogue.require(catalogue.resolve(MODELS[OURS], TASK))}
        quick = results.is_quick()
        for name in () if quick else (FAST, GE2E):
            model = _installed(catalogue, MODELS[name])
            if model is not None:
                found[name] = model
        threads = usable_cores()
        shared = {
            "models": found,
            "threads": threads,
            "parts": chosen(os.environ.get("CELLS", "")),
            "settings": {
                "ASR_MODEL": ASR_MODEL,
                "ASR_DEVICE": "cpu",
                "ASR_COMPUTE_TYPE": COMPUTE_TYPE,
                "DIARIZATION_MODEL": MODELS[OURS],
                "DIARIZATION_DEVICE": "cpu",
                "DIARIZATION_PRELOAD": "true",
            },
            "facts": {
                "asr_model": ASR_MODEL,
                "compute_type": COMPUTE_TYPE,
                "threads": threads,
                "device": "cpu",
                "code": code(),
            },
        }
        if not quick:
            return cls(**shared)  # type: ignore[arg-type]
        return cls(**shared, quick=True, rounds=1, hour_seconds=360.0, voice_seconds=(None,))  # type: ignore[arg-type]


def _installed(catalogue: Catalogue, name: str) -> ModelRef | None:
    try:
        return catalogue.require(catalogue.resolve(name, TASK))
    except ModelNotFound:
        return None


def chosen(wanted: str) -> tuple[str, ...]:
    """Return the parts that a comma-separated list names, all of them for an empty one. ValueError for others."""
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(PARTS)):
        raise ValueError(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return tuple(name for name in PARTS if name in names) if names else PARTS


@dataclass(frozen=True, slots=True)
class DiarizationBench:
    """What every part needs: the plan, a folder for files, clips of known speakers, and where to say how far it is."""

    plan: DiarizationPlan
    folder: Path
    clips: Sequence[Clip]
    say: Callable[[str], None]
