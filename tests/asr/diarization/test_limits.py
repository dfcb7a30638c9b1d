"""What may be asked of a diarization: everything else is refused with the field that is wrong, before any work."""

from __future__ import annotations

from typing import Any

import pytest

from asr.diarization.engine import Capabilities, DiarizeOptions
from asr.diarization.limits import MAX_SPEAKERS, check
from core.errors import InvalidRequest, UnsupportedParameter

ANY = Capabilities()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_speakers": 1},
        {"num_speakers": MAX_SPEAKERS},
        {"min_speakers": 2, "max_speakers": 2},
        {"num_speakers": 3, "min_speakers": 2, "max_speakers": 4},
        {"threshold": 0.7, "min_on": 0.5, "min_off": 60.0},
    ],
)
def test_what_makes_sense_is_let_through(options: dict[str, Any]) -> None:
    check(DiarizeOptions(**options), ANY)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"num_speakers": 0}, "num_speakers"),
        ({"num_speakers": -1}, "num_speakers"),
        ({"num_speakers": 1_000_000_000}, "num_speakers"),
        ({"min_speakers": 0}, "min_speakers"),
        ({"max_speakers": 0}, "max_speakers"),
        ({"max_speakers": MAX_SPEAKERS + 1}, "max_speakers"),
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers"),
        ({"num_speakers": 5, "max_speakers": 4}, "num_speakers"),
        ({"num_speakers": 1, "min_speakers": 2}, "num_speakers"),
        ({"threshold": 0.0}, "clustering_threshold"),
        ({"threshold": 2.1}, "clustering_threshold"),
        ({"threshold": float("nan")}, "clustering_threshold"),
        ({"min_on": -0.1}, "min_duration_on"),
        ({"min_on": float("nan")}, "min_duration_on"),
        ({"min_off": float("inf")}, "min_duration_off"),
    ],
)
def test_nonsense_is_refused_with_the_field_of_the_request(options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(DiarizeOptions(**options), ANY)
    assert caught.value.param == param
    assert caught.value.code == "invalid_value"


@pytest.mark.parametrize("name", ["num_speakers", "min_speakers", "max_speakers"])
def test_an_engine_that_cannot_be_told_a_count_is_not(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        check(DiarizeOptions(**{name: 2}), Capabilities(hints=False))
    assert caught.value.param == name


def test_an_engine_without_a_threshold_is_given_none() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        check(DiarizeOptions(threshold=0.5), Capabilities(threshold=False))
    assert caught.value.param == "clustering_threshold"


def test_more_speakers_than_an_engine_tells_apart_are_refused_unless_as_a_bound() -> None:
    four = Capabilities(max_speakers=4)
    check(DiarizeOptions(num_speakers=4), four)
    check(DiarizeOptions(max_speakers=10), four)
    for name in ("num_speakers", "min_speakers"):
        with pytest.raises(InvalidRequest, match="at most 4") as caught:
            check(DiarizeOptions(**{name: 5}), four)
        assert caught.value.param == name
