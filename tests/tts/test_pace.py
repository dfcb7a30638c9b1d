"""How long pieces may be: an engine of a given speed, and a listener who plays what he gets."""

from __future__ import annotations

from collections.abc import Sequence

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
CHAT = "Yes, of course. That is a good idea. Let us go at once. I will bring the tea. You bring the cups, please. " * 16
UNBROKEN = (
    "We went on along the river until the sun was down and nobody knew any more where the others had gone to. " * 8
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


def take_turns(texts: Sequence[str], factor: float) -> list[list[str]]:
    """Return the pieces of texts that share an engine of `factor`, and need a fifth of a second more for each piece."""
    clock, rate = Clock(), known(factor)
    answers = [Pieces(text, longest=180, first_chars=32) for text in texts]
    playbacks = [Playback(rate, clock=clock) for _ in texts]
    found: list[list[str]] = [[] for _ in texts]
    while any(answers):
        waiting = sum(map(bool, answers)) - 1
        for left, playback, spoken in zip(answers, playbacks, found, strict=True):
            if left:
                piece = left.next(playback.chars(waiting), shared=waiting > 0) if spoken else left.first(16)
                seconds = len(piece.text) / CHARS_PER_SECOND
                clock.now += factor * seconds + 0.2
                rate.add(factor * seconds + 0.2, seconds)
                playback.add(len(piece.text), seconds)
                spoken.append(piece.text)
    return found


@pytest.mark.parametrize("text", [PARAGRAPH * 5, CHAT, UNBROKEN], ids=["prose", "chat", "unbroken"])
@pytest.mark.parametrize("callers", [2, 4])
@pytest.mark.parametrize("factor", [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
def test_texts_that_share_an_engine_are_not_cut_into_more_pieces(factor: float, callers: int, text: str) -> None:
    [alone] = take_turns([text], factor)
    assert all(len(piece.split()) >= 3 or piece.endswith((",", ".")) for piece in alone)
    for found in take_turns([text] * callers, factor):
        assert len(found) <= 1.3 * len(alone)
        assert all(len(piece.split()) >= 3 for piece in found)


@pytest.mark.parametrize("text", [PARAGRAPH * 5, UNBROKEN], ids=["prose", "unbroken"])
@pytest.mark.parametrize("factor", [0.4, 0.6, 0.7, 0.8, 0.95])
def test_an_engine_that_is_hardly_fast_enough_gets_no_fragments(factor: float, text: str) -> None:
    found, gap = play(text, factor)
    assert all(len(piece) >= 24 or piece.endswith((",", ".")) for piece in found[1:-1]), found
    assert gap < factor * 64 / CHARS_PER_SECOND


@given(WORDS.map(" ".join), st.floats(0.01, 0.25))
def test_an_engine_that_is_fast_enough_never_lets_the_listener_wait(text: str, factor: float) -> None:
    _, gap = play(text, factor)
    assert gap <= 0


@given(WORDS.map(" ".join), st.floats(0.25, 0.75))
def test_a_listener_never_waits_for_more_than_a_clause(text: str, factor: float) -> None:
    _, gap = play(text, factor)
    assert gap <= factor * 64 / CHARS_PER_SECOND


def test_who_shares_an_engine_has_less_time_for_a_piece() -> None:
    clock = Clock()
    playback = Playback(known(0.25), clock=clock)
    playback.add(150, 10.0)
    assert (playback.chars(), playback.chars(1), playback.chars(3)) == (480, 240, None)


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
