"""What other libraries find becomes a Diarization: numbers, one speaker at a time, vectors."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.diarization.engine import DiarizeOptions, Turn
from asr.diarization.foreign import adopted, exclusive

PLAIN = DiarizeOptions()


def test_speakers_are_numbered_as_they_first_talk() -> None:
    found = adopted([Turn(5.0, 6.0, 0), Turn(1.0, 2.0, 7), Turn(3.0, 4.0, 0)], PLAIN, duration=10.0)
    assert found.turns == (Turn(1.0, 2.0, 0), Turn(3.0, 4.0, 1), Turn(5.0, 6.0, 1))
    assert found.exclusive == found.turns
    assert found.embeddings == {}


def test_the_library_s_own_exclusive_timeline_is_kept_under_the_same_numbers() -> None:
    turns = [Turn(0.0, 4.0, 3), Turn(3.0, 6.0, 1)]
    found = adopted(turns, PLAIN, duration=10.0, alone=[Turn(3.5, 6.0, 1), Turn(0.0, 3.5, 3)])
    assert found.exclusive == (Turn(0.0, 3.5, 0), Turn(3.5, 6.0, 1))


def test_short_turns_and_short_pauses_are_what_the_options_say() -> None:
    turns = [Turn(0.0, 1.0, 0), Turn(1.2, 2.0, 0), Turn(5.0, 5.1, 4)]
    options = DiarizeOptions(min_on=0.3, min_off=0.5)
    found = adopted(turns, options, duration=10.0, alone=turns, vectors={4: np.ones(2, np.float32)})
    assert found.turns == found.exclusive == (Turn(0.0, 2.0, 0),)
    assert found.embeddings == {}


def test_vectors_get_the_new_numbers_and_length_1_and_those_without_direction_are_left_out() -> None:
    turns = [Turn(0.0, 1.0, 2), Turn(2.0, 3.0, 0), Turn(4.0, 5.0, 1)]
    vectors = {0: np.array([3.0, 4.0]), 1: np.zeros(2), 2: np.array([np.nan, 1.0]), 9: np.ones(2)}
    found = adopted(turns, PLAIN, duration=10.0, vectors=vectors)
    assert list(found.embeddings) == [1]
    assert found.embeddings[1].tolist() == pytest.approx([0.6, 0.8])
    assert found.embeddings[1].dtype == np.float32


def test_turns_end_with_the_recording() -> None:
    turns = [Turn(0.0, 4.5, 0), Turn(4.2, 4.9, 1)]
    found = adopted(turns, PLAIN, duration=4.1, alone=turns)
    assert found.turns == found.exclusive == (Turn(0.0, 4.1, 0),)


def test_who_talks_goes_on_and_the_other_gets_the_rest() -> None:
    turns = [Turn(0.0, 4.0, 0), Turn(1.0, 2.0, 1), Turn(3.0, 6.0, 1)]
    assert exclusive(turns) == [Turn(0.0, 4.0, 0), Turn(4.0, 6.0, 1)]


Times = st.floats(min_value=0, max_value=100, allow_nan=False)
Turns = st.lists(
    st.builds(lambda start, length, who: Turn(start, start + length, who), Times, Times, st.integers(0, 3)), max_size=12
)


@given(Turns)
def test_one_speaks_at_a_time_and_all_the_speech_is_kept(turns: list[Turn]) -> None:
    alone = exclusive(turns)
    assert all(one.end <= other.start for one, other in pairwise(alone))
    assert all(one.end > one.start for one in alone)
    assert sum(one.end - one.start for one in alone) == pytest.approx(_covered(turns))


def _covered(turns: list[Turn]) -> float:
    """Seconds in which anybody speaks."""
    edges = sorted({edge for turn in turns for edge in (turn.start, turn.end)})
    return sum(
        last - first
        for first, last in pairwise(edges)
        if any(turn.start <= first and last <= turn.end for turn in turns)
    )
