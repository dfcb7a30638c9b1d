"""Audio that kills: refused after two deaths, and nobody is blamed for what may be a neighbour's fault."""

from __future__ import annotations

import pytest

from asr.poison import Poison
from core.errors import CrashedByRequest, EngineCrashed, InvalidAudio, UnprocessableAudio, VoiceStackError


def die(poison: Poison, sha256: str, error: type[VoiceStackError] = CrashedByRequest) -> None:
    with pytest.raises(error), poison.watch(sha256, "tiny"):
        raise error("gone")


def test_the_second_death_is_the_last() -> None:
    poison = Poison()
    die(poison, "a")
    poison.check("a", "tiny")
    die(poison, "a", InvalidAudio)
    poison.check("a", "tiny")
    with pytest.raises(UnprocessableAudio), poison.watch("a", "tiny"):
        raise CrashedByRequest("gone")
    with pytest.raises(UnprocessableAudio):
        poison.check("a", "tiny")
    poison.check("b", "tiny")
    poison.check("a", "base")


@pytest.mark.parametrize(("sha256", "error"), [("a", EngineCrashed), ("", CrashedByRequest)])
def test_nobody_is_blamed_without_proof_or_name(sha256: str, error: type[VoiceStackError]) -> None:
    poison = Poison()
    for _ in range(3):
        die(poison, sha256, error)
    poison.check(sha256, "tiny")
