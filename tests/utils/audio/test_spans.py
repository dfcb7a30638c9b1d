"""Times of audio with its silence cut out, told back as times of the original."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.audio.spans import Span, Timeline

SPANS = [Span(5.0, 8.0), Span(20.0, 24.0)]  # kept: 0-3 and 3-7


@pytest.mark.parametrize(
    ("kept", "original"),
    [
        ((0.0, 2.5), (5.0, 7.5)),
        ((0.0, 3.1), (5.0, 8.0)),  # the end is in the slack behind the cut
        ((2.9, 5.0), (20.0, 22.0)),  # the start is in the slack before it
        ((1.0, 5.0), (6.0, 22.0)),  # it really reaches over
        ((2.9, 3.1), (20.0, 20.1)),  # around the cut only: one side or the other
        ((3.0, 7.0), (20.0, 24.0)),
        ((6.0, 9.0), (23.0, 24.0)),  # longer than there is audio
    ],
)
def test_place(kept: tuple[float, float], original: tuple[float, float]) -> None:
    assert Timeline(SPANS, slack=0.5).place(*kept) == pytest.approx(original)


def test_a_word_does_not_reach_over_a_cut() -> None:
    timeline = Timeline(SPANS, slack=0.5)
    assert timeline.place_inside(2.5, 3.2) == pytest.approx((7.5, 8.0))
    assert timeline.place_inside(2.8, 3.6) == pytest.approx((20.0, 20.6))


@given(
    lengths=st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.1, 5.0)), min_size=1, max_size=6),
    times=st.tuples(st.floats(0, 40), st.floats(0, 40)),
    slack=st.floats(0, 1),
)
def test_places_are_inside_spans_and_in_order(
    lengths: list[tuple[float, float]], times: tuple[float, float], slack: float
) -> None:
    spans, at = [], 0.0
    for gap, length in lengths:
        spans.append(Span(at + gap, at + gap + length))
        at += gap + length
    start, end = Timeline(spans, slack=slack).place(min(times), max(times))
    assert start <= end
    for moment in (start, end):
        assert any(span.start <= moment <= span.end for span in spans)
