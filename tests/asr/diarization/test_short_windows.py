"""Short windows of speech: they cover it, and their vectors become speakers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import Diarization, DiarizeOptions, Turn
from asr.diarization.short_windows import Window, cut_up, diarized
from utils.audio.spans import Span

ANN, BEN = np.array([1.0, 0.1, 0.0]), np.array([0.0, 0.1, 1.0])


def windows(*spans: tuple[float, float]) -> list[Window]:
    return list(cut_up([Span(*span) for span in spans], size=1.5, step=0.75))


def diarize(found: list[Window], voices: list[np.ndarray], **options: Any) -> Diarization:
    return diarized(found, np.array(voices), DiarizeOptions(**options), threshold=0.5, least=0.5)


def test_a_short_span_is_one_window() -> None:
    assert windows((1.0, 1.25), (3.0, 4.5)) == [Window(1.0, 1.25, 1.0, 1.25), Window(3.0, 4.5, 3.0, 4.5)]


@pytest.mark.parametrize("end", [3.6, 4.25, 5.0, 17.3])
def test_windows_cover_a_long_span(end: float) -> None:
    found = windows((2.0, end))
    assert found[0].start == found[0].begin == 2.0
    assert found[-1].end == pytest.approx(end)
    assert found[-1].until == end
    for window in found:
        assert window.duration == pytest.approx(1.5)
        assert window.start <= window.begin < window.until <= window.end + 1e-9
    for one, other in pairwise(found):
        assert one.until == other.begin
        assert 0 < other.start - one.start <= 0.75 + 1e-9


def test_windows_of_a_speaker_are_one_turn() -> None:
    found = windows((0.0, 3.0), (4.0, 5.5))
    assert len(found) == 4
    done = diarize(found, [ANN, ANN, BEN, ANN])
    assert done.turns == done.exclusive == (Turn(0.0, 1.875, 0), Turn(1.875, 3.0, 1), Turn(4.0, 5.5, 0))
    assert done.embeddings[1] == pytest.approx(BEN / np.linalg.norm(BEN))


def test_who_talks_first_is_the_first() -> None:
    found = windows((0.0, 1.0), (2.0, 3.0), (4.0, 5.0))
    assert [turn.speaker for turn in diarize(found, [BEN, ANN, BEN]).turns] == [0, 1, 0]
    assert diarize(found, [BEN, ANN, BEN]).embeddings[0] == pytest.approx(BEN / np.linalg.norm(BEN))


def test_a_short_window_makes_no_speaker() -> None:
    found = windows((0.0, 1.5), (2.0, 2.3), (3.0, 4.5))
    odd = np.array([0.2, 1.0, 0.6])  # nobody's, but more like Ben's
    done = diarize(found, [ANN, odd, BEN])
    assert [turn.speaker for turn in done.turns] == [0, 1, 1]


def test_where_all_are_short_they_have_to_do() -> None:
    done = diarize(windows((0.0, 0.3), (1.0, 1.3)), [ANN, BEN])
    assert [turn.speaker for turn in done.turns] == [0, 1]


def test_options_are_heeded() -> None:
    found, voices = windows((0.0, 1.0), (1.2, 2.2), (3.0, 3.6)), [ANN, ANN, BEN]
    assert diarize(found, voices, num_speakers=1).speakers == (0,)
    assert diarize(found, voices, threshold=1.9).speakers == (0,)
    assert diarize(found, voices, min_off=0.3).turns == (Turn(0.0, 2.2, 0), Turn(3.0, 3.6, 1))
    done = diarize(found, voices, min_on=0.7)
    assert done.turns == (Turn(0.0, 1.0, 0), Turn(1.2, 2.2, 0))
    assert set(done.embeddings) == {0}


def test_no_speech_has_no_turns() -> None:
    assert diarized([], np.zeros((0, 3)), DiarizeOptions(), threshold=0.5, least=0.5) == Diarization(
        turns=(), exclusive=()
    )
