"""Rounds and statistics of the benchmarks."""

from __future__ import annotations

import statistics

import pytest

from bench.samples import interleave, percentile, ratio, rotated


def test_every_side_comes_first_equally_often() -> None:
    rounds = [rotated("abc", number) for number in range(-2, 7)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert sorted(one[0] for one in rounds) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


def test_each_side_is_called_once_a_round_and_warm_up_is_dropped() -> None:
    called: list[str] = []
    ticks: list[None] = []

    def side(name: str) -> int:
        called.append(name)
        return called.count(name)

    kept = interleave(
        {name: lambda name=name: side(name) for name in "ab"},  # type: ignore[misc]
        rounds=3,
        warm_up=2,
        tick=lambda: ticks.append(None),
        settle=0.0,
    )
    assert kept == {"a": [3, 4, 5], "b": [3, 4, 5]}
    assert len(ticks) == len(called) == 10
    assert all(set(called[at : at + 2]) == {"a", "b"} for at in range(0, 10, 2))
    assert {called[at] for at in range(0, 10, 2)} == {"a", "b"}


def test_one_slow_sample_does_not_move_the_ratio() -> None:
    assert ratio([1.0, 1.1, 99.0], [1.0, 1.0, 1.0]) == pytest.approx(1.1)


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_percentiles_are_samples(percent: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_the_middle_percentile_is_the_median_of_an_odd_number() -> None:
    samples = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(samples, 50) == statistics.median(samples)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 99)
