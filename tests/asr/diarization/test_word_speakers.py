"""Words take their speakers from the turns, and segments are cut where the speaker changes."""

from __future__ import annotations

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import Turn
from asr.diarization.word_speakers import Speakers, attributed
from asr.transcript import Segment, TokenLogprob, Word

ANN, BEN = 0, 1
SPEAKERS = Speakers([Turn(0, 2, ANN), Turn(2, 4, BEN), Turn(6, 8, ANN)])


@pytest.mark.parametrize(
    ("start", "end", "speaker"),
    [
        (0.5, 1.0, ANN),
        (1.5, 3.0, BEN),  # longer in the second turn
        (1.0, 2.5, ANN),
        (4.2, 4.4, BEN),  # in no turn, but near one
        (5.6, 5.9, ANN),
        (4.6, 5.4, None),  # near nobody
        (20.0, 21.0, None),
        (8.1, 8.1, ANN),
    ],
)
def test_who_talks_most_of_the_time_else_who_is_near(start: float, end: float, speaker: int | None) -> None:
    assert SPEAKERS.between(start, end) == speaker


def test_without_turns_nobody_talks() -> None:
    assert Speakers([]).between(0, 1) is None


def words(*times: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(word, start, end) for word, start, end in times)


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    said = words((" one", 0.5, 1.0), (" two", 1.2, 1.8), (" three", 2.4, 3.0))
    token = TokenLogprob(" one", -0.1, (32, 111, 110, 101))
    segment = Segment(start=0.2, end=3.5, text=" one two three", words=said, tokens=(1, 2, 3), logprobs=(token,))
    (first, one), (second, other) = attributed(segment, SPEAKERS.between)
    assert (first, one.text, one.start, one.end, one.words) == (ANN, " one two", 0.5, 1.8, said[:2])
    assert (second, other.text, other.start, other.end, other.words) == (BEN, " three", 2.4, 3.0, said[2:])
    assert (one.tokens, one.logprobs) == ((1, 2, 3), (token,))
    assert (other.tokens, other.logprobs) == ((), ())


def test_a_segment_of_one_speaker_stays_as_it_is() -> None:
    segment = Segment(start=0.0, end=2.0, text=" Hi there. ", words=words((" Hi", 0.5, 1.0), (" there.", 1.1, 1.5)))
    assert list(attributed(segment, SPEAKERS.between)) == [(ANN, segment)]


@pytest.mark.parametrize(("start", "end", "speaker"), [(1, 4, BEN), (4.6, 5.4, None)])
def test_a_segment_without_words_is_said_by_one(start: float, end: float, speaker: int | None) -> None:
    segment = Segment(start=start, end=end, text=" a")
    assert list(attributed(segment, SPEAKERS.between)) == [(speaker, segment)]


def test_a_word_near_nobody_has_no_speaker_whoever_says_those_around_it() -> None:
    said = words((" uh", 4.8, 5.2), (" so", 6.1, 6.5), (" then", 9.5, 9.9))
    segment = Segment(start=4.8, end=9.9, text=" uh so then", words=said)
    found = [(speaker, part.text) for speaker, part in attributed(segment, SPEAKERS.between)]
    assert found == [(None, " uh"), (ANN, " so"), (None, " then")]
