"""Turns out of frames, and what is done to them before they are told."""

from __future__ import annotations

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import Turn
from asr.diarization.timeline import Grid, cleaned, cleaned_exclusive, numbered, strongest, touched, turns
from utils.audio.spans import Span

GRID = Grid(first=0.5, step=1.0)


def test_a_turn_lasts_as_long_as_its_frames_are_active() -> None:
    active = np.array([[1, 0], [1, 1], [0, 1], [1, 1]], dtype=np.bool_)
    assert turns(active, GRID, duration=4.2) == [Turn(0.5, 2.5, 0), Turn(1.5, 4.2, 1), Turn(3.5, 4.2, 0)]


def test_no_turn_begins_after_the_end() -> None:
    assert turns(np.ones((2, 1), dtype=np.bool_), GRID, duration=0.4) == []
    assert turns(np.zeros((0, 2), dtype=np.bool_), GRID, duration=1.0) == []


def test_frames_are_found_by_their_middles() -> None:
    assert [GRID.frame(seconds) for seconds in (0.5, 1.4, 1.6, 7.5)] == [0, 1, 1, 7]
    assert GRID.middle(7) == 7.5


def test_the_strongest_talk_if_they_are_heard() -> None:
    strength = np.array([[0.2, 0.9, 0.5], [0.0, 0.4, 0.0], [0.3, 0.2, 0.1]])
    found = strongest(strength, np.array([2, 2, 0]))
    assert found.tolist() == [[False, True, True], [False, True, False], [False, False, False]]


def test_of_equally_strong_ones_the_first_talks() -> None:
    assert strongest(np.array([[0.5, 0.5]]), np.array([1])).tolist() == [[True, False]]


def test_pauses_are_closed_before_short_turns_are_dropped() -> None:
    found = [Turn(0, 0.4, 0), Turn(0.5, 0.9, 0), Turn(0.2, 0.5, 1), Turn(2, 2.3, 0)]
    assert cleaned(found, min_on=0.8, min_off=0.1) == [Turn(0, 0.9, 0)]
    assert cleaned(found, min_on=0, min_off=0) == sorted(found)


def test_a_turn_inside_anothers_of_the_same_speaker_adds_nothing() -> None:
    assert cleaned([Turn(0, 3, 0), Turn(1, 2, 0)], min_on=0, min_off=0) == [Turn(0, 3, 0)]


def test_exclusive_turns_stay_exclusive() -> None:
    found = [Turn(0, 1, 0), Turn(1.1, 1.5, 1), Turn(1.6, 2, 0), Turn(2.2, 3, 0)]
    assert cleaned_exclusive(found, min_on=0, min_off=1) == [Turn(0, 1, 0), Turn(1.1, 1.5, 1), Turn(1.6, 3, 0)]


def test_a_pause_is_closed_that_is_left_by_a_short_turn() -> None:
    found = [Turn(0, 1, 0), Turn(1.1, 1.3, 1), Turn(1.4, 3, 0)]
    assert cleaned_exclusive(found, min_on=0.5, min_off=0.5) == [Turn(0, 3, 0)]


@pytest.mark.parametrize(
    ("speech", "kept"),
    [
        ([], []),
        ([Span(0, 9)], [0, 1, 2]),
        ([Span(1.0, 2.0)], []),
        ([Span(0.9, 1.1), Span(4.5, 4.6)], [0, 2]),
        ([Span(2.5, 2.6), Span(3.5, 3.6)], [1]),
    ],
)
def test_turns_without_any_speech_are_dropped(speech: list[Span], kept: list[int]) -> None:
    found = [Turn(0, 1, 0), Turn(2, 3, 1), Turn(4, 5, 0)]
    assert touched(found, speech) == [found[index] for index in kept]


def test_a_turn_is_kept_by_speech_that_one_around_it_was_kept_by() -> None:
    assert len(touched([Turn(0, 9, 0), Turn(1, 2, 1), Turn(5, 6, 1)], [Span(1.5, 5.5)])) == 3


def test_who_talks_first_is_the_first() -> None:
    found, numbers = numbered([Turn(0, 1, 7), Turn(1, 2, 3), Turn(2, 3, 7)])
    assert found == [Turn(0, 1, 0), Turn(1, 2, 1), Turn(2, 3, 0)]
    assert numbers == {7: 0, 3: 1}
