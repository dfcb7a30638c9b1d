"""The player on paper."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.tts_player import NANOSECONDS, Arrival, Playback, play

SECOND = NANOSECONDS
RATE = 48_000
"""Bytes per second of 16-bit samples at 24 kHz."""


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    gaps = draw(st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=12))
    sizes = draw(st.lists(st.integers(1, 3 * RATE), min_size=len(gaps), max_size=len(gaps)))
    return [Arrival(at, size) for at, size in zip(accumulate(gaps), sizes, strict=True)]


def test_audio_that_is_there_in_time_never_runs_dry() -> None:
    found = play(
        [Arrival(7 * SECOND, RATE), Arrival(8 * SECOND, RATE), Arrival(8 * SECOND + 1, 2)], bytes_per_second=RATE
    )
    assert found == Playback(0, Fraction(0))


def test_a_nanosecond_late_is_an_underrun() -> None:
    found = play([Arrival(0, RATE), Arrival(SECOND + 1, RATE)], bytes_per_second=RATE)
    assert found == Playback(1, Fraction(1, SECOND))


def test_playback_goes_on_when_audio_is_back() -> None:
    # Two seconds late with one second of audio: from then on everything is played two seconds later.
    late = [Arrival(0, RATE), Arrival(3 * SECOND, RATE), Arrival(4 * SECOND, RATE), Arrival(6 * SECOND, RATE)]
    assert play(late, bytes_per_second=RATE) == Playback(2, Fraction(3))


def test_what_came_early_fills_a_later_gap() -> None:
    assert play([Arrival(0, 5 * RATE), Arrival(5 * SECOND, 1)], bytes_per_second=RATE).underruns == 0


def test_the_first_byte_may_take_as_long_as_it_likes() -> None:
    assert play([Arrival(3600 * SECOND, 2)], bytes_per_second=RATE) == Playback(0, Fraction(0))


def test_empty_parts_are_no_audio() -> None:
    empty = [Arrival(0, 0), Arrival(9 * SECOND, RATE), Arrival(99 * SECOND, 0)]
    assert play(empty, bytes_per_second=RATE) == Playback(0, Fraction(0))
    with pytest.raises(ValueError, match="no audio"):
        play([Arrival(0, 0)], bytes_per_second=RATE)


@given(streams(), st.integers(1, 4 * RATE))
def test_it_agrees_with_a_player_of_one_byte_after_the_other(arrivals: list[Arrival], rate: int) -> None:
    """A byte is played when the one before it is over, or when it is there if that is later."""
    ends = Fraction(arrivals[0].at)
    underruns, silence = 0, Fraction(0)
    for arrival in arrivals:
        begins = max(ends, Fraction(arrival.at))
        underruns += begins > ends
        silence += begins - ends
        ends = begins + Fraction(arrival.size * NANOSECONDS, rate)
    assert play(arrivals, bytes_per_second=rate) == Playback(underruns, silence / NANOSECONDS)


@given(streams())
def test_the_silence_is_how_far_the_latest_part_is_behind(arrivals: list[Arrival]) -> None:
    """Whoever begins to play that much later hears no gap, and would hear one if he began any sooner."""
    before = [0, *accumulate(arrival.size for arrival in arrivals)]
    needed = max(
        Fraction(arrival.at - arrivals[0].at, NANOSECONDS) - Fraction(had, RATE)
        for arrival, had in zip(arrivals, before, strict=False)
    )
    assert play(arrivals, bytes_per_second=RATE).silence == max(needed, 0)


@given(streams(), st.integers(0, 11), st.integers(1, SECOND))
def test_a_later_arrival_never_helps(arrivals: list[Arrival], place: int, delay: int) -> None:
    place = 1 + place % len(arrivals)
    later = arrivals[:place] + [Arrival(one.at + delay, one.size) for one in arrivals[place:]]
    assert play(later, bytes_per_second=RATE).silence >= play(arrivals, bytes_per_second=RATE).silence


@given(streams(), st.data())
def test_how_the_bytes_are_parted_does_not_matter(arrivals: list[Arrival], data: st.DataObject) -> None:
    parted: list[Arrival] = []
    for one in arrivals:
        first = data.draw(st.integers(0, one.size))
        parted += [Arrival(one.at, first), Arrival(one.at, one.size - first)]
    assert play(parted, bytes_per_second=RATE) == play(arrivals, bytes_per_second=RATE)
