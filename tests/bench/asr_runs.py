"""Rounds and plans of `make bench-asr`, made up."""

from __future__ import annotations

from pathlib import Path

from bench.asr_plan import AsrPlan
from bench.sides import Heard, Run
from bench.speech import Clip

SAID = "one two three four five six seven eight nine ten"


def runs(seconds: float, *texts: str | None, rounds: int = 3, said: str = SAID) -> list[Run]:
    """Rounds of clips of ten seconds that took `seconds` each."""
    heard = tuple(Heard(Clip(Path(f"{at}.wav"), 10.0, said), seconds, text) for at, text in enumerate(texts))
    return [Run(heard, seconds * len(texts), 1.0, 100.0)] * rounds


def plan(**given: object) -> AsrPlan:
    """A plan with the fake engine."""
    settings = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake"}
    return AsrPlan(**{"settings": settings, "threads": 1, "rounds": 2, "peer_rounds": 1, "other_clients": (), **given})  # type: ignore[arg-type]
