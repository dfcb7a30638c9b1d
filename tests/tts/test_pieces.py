from __future__ import annotations

import pytest

from tts import pieces

PARAGRAPH = (
    "The stack speaks, and it listens. It runs on your own machine and needs no cloud at all. Every word stays where "
    "it was said, which is what most people want. A long paragraph is cut into pieces, so that the first of them can "
    "be heard while the others are still being made. That is what people expect of a voice today."
)


def words(parts: list[str]) -> list[str]:
    return " ".join(parts).split()


def test_a_long_text_begins_with_a_short_piece_and_grows() -> None:
    cut = pieces.cut(PARAGRAPH, max_chars=180, first_chars=60)
    assert words(cut) == PARAGRAPH.split()
    assert len(cut[0]) <= 60
    assert len(cut[1]) <= 90
    assert max(map(len, cut)) > 90


def test_a_single_sentence_stays_whole() -> None:
    sentence = "Dr. Smith arrived at 3 p.m., tired and hungry, from a place nobody had heard of."
    assert pieces.cut(sentence, max_chars=180, first_chars=60) == [sentence]


def test_without_first_chars_pieces_are_as_long_as_they_may_be() -> None:
    cut = pieces.cut(PARAGRAPH, max_chars=180, first_chars=None)
    assert words(cut) == PARAGRAPH.split()
    assert len(cut[0]) > 60


@pytest.mark.parametrize("text", ["", "  ", "...", "—\n\n?!", "* * *"])
def test_nothing_to_say_gives_no_piece(text: str) -> None:
    assert pieces.cut(text, max_chars=180, first_chars=60) == []


@pytest.mark.parametrize("max_chars", [1, 2, 7, 40])
def test_no_piece_is_longer_than_max_chars(max_chars: int) -> None:
    cut = pieces.cut(PARAGRAPH, max_chars=max_chars, first_chars=60)
    assert max(map(len, cut)) <= max_chars


def test_sentences_are_told_apart_across_lines_and_paragraphs() -> None:
    text = "One two.  Three,\nfour! …\n\nA heading\n\nDr. Who? ***"
    assert pieces.by_sentence(text) == ["One two.", "Three, four!", "A heading", "Dr. Who?"]
    assert pieces.by_sentence("") == pieces.by_sentence("\n \n…") == []
