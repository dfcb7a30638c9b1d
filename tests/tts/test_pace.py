"""How long pieces may be: an engine of a given speed, and a listener who plays what he gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.pace import CHARS_PER_SECOND, Playback, Rate
from tts.pieces import Pieces

PARAGRAPH = (
    "It runs on your own machine and needs no cloud at all. Every word stays where it was said, which is what most "
    "people want, and nobody hears it who should not. A long paragraph is cut into pieces so that the first of them "
    "can be heard while all the others are still being made and nobody has to wait for them in the end. "
)
WORDS = st.lists(st.sampled_from(["a", "fox", "jumps,", "over", "lazy.", "Why?", "silver", "dog"]), min_size=30)


class Clock:
    """A clock that goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def known(factor: float) -> Rate:
    rate = Rate()
    rate.add(factor, 1.0)
    return rate


def play(text: str, factor: float, *, tempo: float = 1.0) -> tuple[list[str], float]:
    """Return the pieces of a text, and the longest gap in seconds that its listener hears."""
    clock, rate = Clock(), known(factor)
    playback = Playback(rate, tempo=tempo, clock=clock)
    left = Pieces(text, longest=180, first_chars=32)
    found: list[str] = []
    until, gap = 0.0, 0.0
    while left:
        piece = left.next(playback.chars()) if found else left.first(16)
        seconds = len(piece.text) / CHARS_PER_SECOND
        clock.now += factor * seconds
        if found:
            gap = max(gap, clock.now - until)
        until = max(until, clock.now) + seconds / tempo
        playback.add(len(piece.text), seconds)
        found.append(piece.text)
    return found, gap


@given(WORDS.map(" ".join), st.floats(0.01, 0.75))
def test_an_engine_that_is_fast_enough_never_lets_the_listener_wait(text: str, factor: float) -> None:
    _, gap = play(text, factor)
    assert gap <= 0


@pytest.mark.parametrize(("factor", "tempo"), [(0.1, 1.0), (0.6, 1.0), (0.3, 2.0)])
def test_pieces_grow_faster_the_faster_the_engine_is(factor: float, tempo: float) -> None:
    found, gap = play(PARAGRAPH * 5, factor, tempo=tempo)
    assert gap <= 0
    lengths = [len(piece) for piece in found]
    assert lengths[0] <= 32
    assert lengths[1] <= max(lengths[0] / (factor * tempo), 12)
    assert max(lengths[-5:]) > 100
    assert (lengths[1] > 50) == (factor * tempo < 0.5)


def test_an_engine_that_is_too_slow_is_given_whole_sentences() -> None:
    found, gap = play(PARAGRAPH, 1.5)
    assert gap > 0
    assert all(piece.endswith(".") for piece in found[1:])


def test_what_waits_to_be_played_runs_out() -> None:
    clock = Clock()
    playback = Playback(known(0.5), clock=clock)
    assert playback.ahead == 0
    clock.now = 10.0
    playback.add(15, 1.0)
    assert playback.ahead == 1.0
    assert playback.chars() == 24
    clock.now = 10.75
    assert playback.ahead == 0.25
    assert playback.chars() == 6
    clock.now = 12.0
    assert playback.ahead == 0
    assert playback.chars() == 0


def test_a_rate_is_that_of_what_was_made_last() -> None:
    rate = Rate()
    assert rate.value == 1.0
    rate.add(1.0, 2.0)
    assert rate.value == 0.5
    for _ in range(50):
        rate.add(1.0, 10.0)
    assert rate.value == pytest.approx(0.1, abs=0.001)
