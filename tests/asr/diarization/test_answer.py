"""A diarization as an answer: LocalAI's object, names, and every word in one turn."""

from __future__ import annotations

import pytest

from asr.diarization.answer import diarization_object, shown_names, turn_texts
from asr.diarization.engine import Diarization, Turn
from asr.transcript import Segment, Word

FOUND = Diarization(
    turns=(Turn(0.0, 2.0, 0), Turn(1.5, 4.0, 1), Turn(5.0, 6.12345, 0)),
    exclusive=(Turn(0.0, 1.75, 0), Turn(1.75, 4.0, 1), Turn(5.0, 6.12345, 0)),
)
NOBODY = Diarization(turns=(), exclusive=())


def spoken(*words: tuple[str, float, float]) -> Segment:
    """A segment of these words."""
    made = tuple(Word(f" {text}", start, end) for text, start, end in words)
    text = "".join(word.word for word in made)
    return Segment(start=made[0].start, end=made[-1].end, text=text, words=made)


def test_the_object_has_what_localai_and_speaches_have() -> None:
    answer = diarization_object(FOUND, duration=8.00049, names=("SPEAKER_00", "SPEAKER_01"))
    assert answer == {
        "task": "diarize",
        "duration": 8.0,
        "num_speakers": 2,
        "segments": [
            {"id": 0, "speaker": "SPEAKER_00", "label": "0", "start": 0.0, "end": 2.0},
            {"id": 1, "speaker": "SPEAKER_01", "label": "1", "start": 1.5, "end": 4.0},
            {"id": 2, "speaker": "SPEAKER_00", "label": "0", "start": 5.0, "end": 6.123},
        ],
    }


def test_a_verbose_object_sums_up_the_speakers() -> None:
    answer = diarization_object(FOUND, duration=8, names=("Ann", "SPEAKER_01"), texts=["a", "b", ""], verbose=True)
    assert answer["speakers"] == [
        {"id": "Ann", "label": "0", "total_speech_duration": pytest.approx(3.123), "segment_count": 2},
        {"id": "SPEAKER_01", "label": "1", "total_speech_duration": 2.5, "segment_count": 1},
    ]
    assert [segment["text"] for segment in answer["segments"]] == ["a", "b", ""]


def test_where_nobody_speaks_the_lists_are_empty() -> None:
    answer = diarization_object(NOBODY, duration=1, names=shown_names(NOBODY, {}), texts=[], verbose=True)
    assert (answer["num_speakers"], answer["segments"], answer["speakers"]) == (0, [], [])


def test_who_is_known_has_a_name() -> None:
    assert shown_names(FOUND, {}) == ("SPEAKER_00", "SPEAKER_01")
    assert shown_names(FOUND, {1: "Ann"}) == ("SPEAKER_00", "Ann")


def test_every_word_is_in_one_turn_of_who_says_it() -> None:
    said = spoken(("a", 0.2, 0.4), ("b", 1.6, 1.7), ("c", 2.5, 2.8), ("e", 4.9, 4.95), ("d", 5.2, 5.4))
    assert turn_texts(FOUND, [said]) == ["a b", "c", "e d"]


def test_a_segment_without_words_is_in_one_turn() -> None:
    assert turn_texts(FOUND, [Segment(start=2.0, end=3.0, text=" Hello there.")]) == ["", "Hello there.", ""]


def test_what_nobody_says_is_in_no_turn() -> None:
    said = spoken(("a", 0.2, 0.4), ("ghost", 7.0, 7.5))
    assert turn_texts(FOUND, [said]) == ["a", "", ""]
    assert turn_texts(FOUND, [spoken(("ghost", 20.0, 21.0))]) == ["", "", ""]
    assert turn_texts(NOBODY, [spoken(("ghost", 0.0, 1.0))]) == []
