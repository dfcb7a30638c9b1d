"""Words take their speakers from the turns, and segments are cut where the speaker changes."""

from __future__ import annotations

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import Turn
from asr.diarization.speech import Speakers, attributed
from asr.transcript import Segment, TokenLogprob, Word

TURNS = [Turn(0, 2, 0), Turn(2, 4, 1), Turn(6, 8, 0)]
SPEAKERS = Speakers(TURNS, ["Ann", "Ben"])


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        (0.5, 1.0, "Ann"),
        (1.5, 3.0, "Ben"),  # longer in the second turn
        (1.0, 2.5, "Ann"),
        (4.2, 4.4, "Ben"),  # in no turn, but near one
        (5.6, 5.9, "Ann"),
        (4.6, 5.4, None),  # near nobody
        (20.0, 21.0, None),
        (8.1, 8.1, "Ann"),
    ],
)
def test_who_talks_most_of_the_time_else_who_is_near(start: float, end: float, name: str | None) -> None:
    assert SPEAKERS.between(start, end) == name


def test_without_turns_nobody_talks() -> None:
    assert Speakers([], []).between(0, 1) is None


def words(*times: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(word, start, end) for word, start, end in times)


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    said = words((" one", 0.5, 1.0), (" two", 1.2, 1.8), (" three", 2.4, 3.0))
    token = TokenLogprob(" one", -0.1, (32, 111, 110, 101))
    segment = Segment(start=0.2, end=3.5, text=" one two three", id=7, words=said, tokens=(1, 2, 3), logprobs=(token,))
    one, other = attributed([segment], SPEAKERS)
    assert (one.speaker, one.text, one.start, one.end, one.id) == ("Ann", " one two", 0.5, 1.8, 0)
    assert (other.speaker, other.text, other.start, other.end, other.id) == ("Ben", " three", 2.4, 3.0, 1)
    assert [word.speaker for word in (*one.words, *other.words)] == ["Ann", "Ann", "Ben"]
    assert (one.tokens, one.logprobs) == ((1, 2, 3), (token,))
    assert (other.tokens, other.logprobs) == ((), ())


def test_a_segment_of_one_speaker_stays_as_it_is() -> None:
    segment = Segment(start=0.0, end=2.0, text=" Hi there. ", words=words((" Hi", 0.5, 1.0), (" there.", 1.1, 1.5)))
    (found,) = attributed([segment], SPEAKERS)
    assert (found.start, found.end, found.text, found.speaker) == (0.0, 2.0, " Hi there. ", "Ann")


def test_a_segment_without_words_is_said_by_one() -> None:
    segments = [Segment(start=1, end=4, text=" a"), Segment(start=4.6, end=5.4, text=" b")]
    assert [(one.id, one.speaker) for one in attributed(segments, SPEAKERS)] == [(0, "Ben"), (1, None)]


def test_a_word_that_nobody_says_goes_with_the_one_before() -> None:
    said = words((" uh", 4.8, 5.2), (" so", 6.1, 6.5), (" then", 9.5, 9.9))
    (found,) = attributed([Segment(start=4.8, end=9.9, text=" uh so then", words=said)], SPEAKERS)
    assert [word.speaker for word in found.words] == ["Ann", "Ann", "Ann"]


def test_words_near_nobody_have_no_speaker() -> None:
    (found,) = attributed([Segment(start=20, end=21, text=" x", words=words((" x", 20, 21)))], SPEAKERS)
    assert (found.speaker, found.words[0].speaker) == (None, None)
