"""The soak of `make bench-load`, shorter: real services with the fake engines, four clients, every route it needs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench import load_rounds, services
from bench.load_rounds import Seen

ROUNDS = 24


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["asr", "tts"])
def test_models_come_and_go_under_four_clients(name: services.Name, tmp_path: Path) -> None:
    with services.running(name, load_rounds.settings(name, tmp_path)) as service:
        seen = load_rounds.run(service, rounds=ROUNDS)
    assert list(load_rounds.problems({name: seen})) == []
    assert seen.answers["use", 200] == ROUNDS
    assert seen.answers["load", 201] > 0
    assert seen.answers["unload", 200] > 0


def test_what_goes_wrong_is_told_once_with_how_often_it_came() -> None:
    seen = Seen(answers=Counter({("use", 500): 2}), failures=["use: 500 boom"] * 2, before=100.0, after=161.0)
    assert list(load_rounds.problems({"asr": seen})) == [
        "asr: use: 500 boom (2 times)",
        "asr: 61.0 MB stayed, 60 may",
    ]
    assert load_rounds.table({"asr": seen}).row_count == 1
