"""How much `make bench-asr` measures, and of what."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import results
from bench.asr_sides import BEAM, COMPUTE_TYPE
from bench.parts import code
from bench.plan import ASR_MODEL, LANGUAGE
from core.catalogue import Catalogue
from core.devices import usable_cores
from core.settings import Places

PARTS = ("short", "c8", "long", "mixed", "livez", "memory", "reload")
QUICK_CLIPS = 20
CLIENTS = 8


@dataclass(frozen=True, slots=True)
class AsrPlan:
    """Clips, rounds and lengths. `settings` are those of our service that are not at their default."""

    settings: Mapping[str, str]
    threads: int
    model: Path | None = None
    parts: tuple[str, ...] = PARTS
    quick: bool = False
    clips: int | None = None
    """How many short clips; None: all there are."""
    rounds: int = 3
    long_rounds: int = 3
    peer_rounds: int = 3
    other_clients: tuple[int, ...] = (1, 2, 4, 16)
    """Numbers of clients beside eight; they get 20 clips."""
    long_seconds: float = 600.0
    mixed_clips: int = 40
    hour_seconds: float = 3600.0
    hour_speech: float | None = None
    """Seconds of speech in the hour; None: to its end."""
    idle_unload: float = 3.0
    answers_under_load: int = 64
    facts: Mapping[str, str | int] = field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> AsrPlan:
        """Return the plan that QUICK and CELLS ask for. ValueError for an unknown part, ModelNotFound without model."""
        catalogue = Catalogue.load(Places().cache)
        threads, quick = usable_cores(), results.is_quick()
        shared = {
            "settings": {"ASR_MODEL": ASR_MODEL, "ASR_DEVICE": "cpu", "ASR_COMPUTE_TYPE": COMPUTE_TYPE},
            "threads": threads,
            "model": catalogue.require(catalogue.resolve(ASR_MODEL)).path,
            "parts": chosen(os.environ.get("CELLS", "")),
            "facts": {
                "asr_model": ASR_MODEL,
                "language": LANGUAGE,
                "compute_type": COMPUTE_TYPE,
                "beam_size": BEAM,
                "threads": threads,
                "device": "cpu",
                "code": code(),
            },
        }
        if not quick:
            return cls(**shared)  # type: ignore[arg-type]
        return cls(
            **shared,  # type: ignore[arg-type]
            quick=True,
            clips=QUICK_CLIPS,
            long_rounds=1,
            peer_rounds=1,
            other_clients=(),
            mixed_clips=20,
            hour_speech=360.0,
            answers_under_load=32,
        )


def chosen(wanted: str) -> tuple[str, ...]:
    """Return the parts that a comma-separated list names, all of them for an empty one. ValueError for others."""
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(PARTS)):
        raise ValueError(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return tuple(name for name in PARTS if name in names) if names else PARTS
