"""The soak of `make bench-load`, shorter: real services with the fake engines, four clients, every route it needs."""

from __future__ import annotations

import pytest

from bench import load_rounds, services
from bench.load_rounds import FAKES, Seen
from bench.load_uses import Pair, how_often
from bench.models import Side, rounds_row, serving, sides

ROUNDS = 24


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["asr", "tts"])
def test_models_come_and_go_under_four_clients(name: services.Name) -> None:
    side = next(side for side in sides(None) if side.service == name)
    with serving(side) as service:
        seen = load_rounds.run(service, side.models, side.use, rounds=ROUNDS)
    assert list(seen.told) == []
    assert seen.growth < 60.0
    assert seen.answers["use", 200] == ROUNDS
    assert seen.answers["load", 201] > 0
    assert seen.answers["unload", 200] > 0


def test_what_goes_wrong_is_told_once_with_how_often_it_came() -> None:
    seen = Seen(failures=["use: 500 boom"] * 2, before=100.0, after=161.0)
    assert list(seen.told) == ["use: 500 boom (2 times)"]
    row = rounds_row(Side("asr", FAKES, sides(None)[0].use), seen)
    assert (row["errors"], row["growth MB"], row["models"]) == (2, 61.0, "fake engine")


def test_models_that_take_turns_gain_nothing() -> None:
    assert Pair((1, 1), (2.0, 2.0), 4.0).gain == 1.0
    assert Pair((1, 1), (2.0, 2.0), 2.0).gain == 2.0


@pytest.mark.parametrize(
    ("seconds", "times"), [((17.4, 1.44), (1, 12)), ((1.0, 3.2), (3, 1)), ((1.0, 1.4), (1, 1)), ((2.0, 2.0), (1, 1))]
)
def test_the_faster_of_two_models_is_asked_more_often(seconds: tuple[float, float], times: tuple[int, int]) -> None:
    assert how_often(*seconds) == times
