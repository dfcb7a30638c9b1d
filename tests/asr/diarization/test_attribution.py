"""Segments with their speakers: names, letters, and what nobody is near to."""

from __future__ import annotations

from pydantic import TypeAdapter

from asr.diarization.attribution import LABELS, LETTERS, Attribution, SpeakersAsked, naming
from asr.diarization.engine import DiarizeOptions, Turn
from asr.diarization.known import KnownVoice
from asr.transcript import Segment, Word

FOUND = Attribution(
    turns=(Turn(0.0, 2.0, 0), Turn(2.0, 4.0, 1), Turn(10.0, 12.0, 0)),
    names={1: "Ann"},
    embeddings={0: (1.0, 0.0), 1: (0.0, 1.0)},
)


def said(start: float, *texts: str) -> Segment:
    """A word each second."""
    words = tuple(Word(f" {text}", start + index, start + index + 0.9) for index, text in enumerate(texts))
    text = "".join(word.word for word in words)
    return Segment(start=start, end=start + len(texts), text=text, words=words, tokens=(1, 2))


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    found = FOUND.applied([said(0, "one", "two", "three", "four")], LABELS)
    assert [(part.id, part.speaker, part.text) for part in found] == [
        (0, "SPEAKER_00", " one two"),
        (1, "Ann", " three four"),
    ]
    assert [(part.start, part.end) for part in found] == [(0.0, 1.9), (2.0, 3.9)]
    assert [len(part.words) for part in found] == [2, 2]
    assert [part.tokens for part in found] == [(1, 2), ()]


def test_ids_go_on_from_segment_to_segment() -> None:
    found = FOUND.applied([said(1, "two", "three"), said(3, "four"), said(10, "five")], LABELS)
    assert [part.id for part in found] == [0, 1, 2, 3]
    assert [part.speaker for part in found] == ["SPEAKER_00", "Ann", "Ann", "SPEAKER_00"]


def test_what_nobody_is_near_to_is_nobodys_or_goes_on() -> None:
    talk = [said(6, "lost"), said(2, "three"), said(7, "again")]
    assert [part.speaker for part in FOUND.applied(talk, LABELS)] == [None, "Ann", None]
    # Answers that must name somebody name who spoke last, and before that who is heard first.
    assert [part.speaker for part in FOUND.applied(talk, LETTERS)] == ["A", "Ann", "Ann"]


def test_a_word_that_nobody_is_near_to_is_nobodys_or_goes_on() -> None:
    talk = said(0, "one", "two", "three", "four", "five", "six", "seven")  # the last ends 3 s before the next turn
    found = FOUND.applied([talk], LABELS)
    assert [(part.speaker, part.text) for part in found] == [
        ("SPEAKER_00", " one two"),
        ("Ann", " three four five"),
        (None, " six seven"),
    ]
    found = FOUND.applied([talk], LETTERS)
    assert [(part.speaker, part.text) for part in found] == [("A", " one two"), ("Ann", " three four five six seven")]


def test_text_without_any_turn_is_one_speakers_where_there_must_be_one() -> None:
    nobody = Attribution()
    assert [part.speaker for part in nobody.applied([said(0, "one")], LETTERS)] == ["A"]
    assert [part.speaker for part in nobody.applied([said(0, "one")], LABELS)] == [None]


def test_everybody_has_a_label_who_talks_only_over_others() -> None:
    found = Attribution(turns=(Turn(0.0, 1.0, 0),), embeddings={0: (1.0,), 1: (0.5,)})
    assert found.labels(LABELS) == ("SPEAKER_00", "SPEAKER_01")
    assert Attribution().labels(LETTERS) == ()


def test_a_format_says_how_speakers_are_called() -> None:
    assert naming("diarized_json") is LETTERS
    assert {naming(name).everywhere for name in ("json", "verbose_json", "srt", "text")} == {False}


def test_it_is_kept_as_json() -> None:
    """The jobs' database has both."""
    known = KnownVoice(name="Ann", vector=(0.25, -1.0), within=0.5)
    asked = SpeakersAsked(model="m", options=DiarizeOptions(num_speakers=2), known=(known,), identify=True)
    for value in (asked, FOUND, Attribution()):
        adapter = TypeAdapter(type(value))
        assert adapter.validate_json(adapter.dump_json(value)) == value
