from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts import pieces
from tts.pieces import FEW_CHARS, Pieces

PARAGRAPH = (
    "The stack speaks, and it listens. It runs on your own machine and needs no cloud at all. Every word stays where "
    "it was said, which is what most people want. A long paragraph is cut into pieces, so that the first of them can "
    "be heard while the others are still being made. That is what people expect of a voice today."
)
WORDS = st.lists(
    st.sampled_from(
        ["a", "fox", "jumps,", "over;", "lazily.", "Why?", "Dr.", "3.14", "12", "silver", "…", "—", "\n\n"]
    ),
    max_size=60,
).map(" ".join)


def cut(text: str, chars: int | None = 180, *, longest: int = 180, first_chars: int | None = 32) -> list[str]:
    left = Pieces(text, longest=longest, first_chars=first_chars)
    found = [left.first().text] if left else []
    while left:
        found.append(left.next(chars).text)
    return found


def words(parts: list[str]) -> list[str]:
    return [word for word in " ".join(parts).split() if any(map(str.isalnum, word))]


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def test_a_long_text_begins_with_a_clause_and_goes_on_as_long_as_it_is_let() -> None:
    assert cut(PARAGRAPH)[0] == "The stack speaks,"
    assert words(cut(PARAGRAPH)) == words([PARAGRAPH])
    longest = {chars: max(map(len, cut(PARAGRAPH, chars))) for chars in (20, 60, 180)}
    assert longest[20] < longest[60] < longest[180]


def test_a_first_clause_may_be_longer_where_that_is_made_soon() -> None:
    clause = "It runs on your own machine and needs no cloud at all,"
    text = f"{clause} {PARAGRAPH}"
    assert Pieces(text, longest=180, first_chars=32).first().text == "It runs on your own machine"
    assert Pieces(text, longest=180, first_chars=32).first(12, 60).text == clause
    assert Pieces(text, longest=20, first_chars=32).first(12, 60).text == "It runs on your"


def test_pieces_may_grow_from_one_to_the_next() -> None:
    left = Pieces(PARAGRAPH, longest=180, first_chars=32)
    assert [left.first().text, left.next(20).text, left.next(60).text] == [
        "The stack speaks,",
        "and it listens.",
        "It runs on your own machine and needs no cloud at all.",
    ]


def test_without_a_length_pieces_end_with_sentences() -> None:
    assert cut(PARAGRAPH, None)[1:] == ["and it listens.", *pieces.by_sentence(PARAGRAPH)[1:]]


@pytest.mark.parametrize("first_chars", [32, None])
def test_a_short_sentence_stays_whole(first_chars: int | None) -> None:
    sentence = "Dr. Smith arrived at 3 p.m., tired and hungry, by train."
    left = Pieces(sentence, longest=180, first_chars=first_chars)
    assert left.whole
    assert left.first().text == sentence
    assert not left


def test_a_long_sentence_does_not_unless_it_is_heard_while_it_is_made() -> None:
    sentence = "Dr. Smith arrived at 3 p.m., tired and hungry, from a place nobody had heard of."
    assert not Pieces(sentence, longest=180, first_chars=32).whole
    assert cut(sentence)[0] == "Dr. Smith arrived at 3 p.m.,"
    assert Pieces(sentence, longest=180).whole
    assert cut(sentence, first_chars=None) == [sentence]


def test_sentences_may_be_kept_apart() -> None:
    left = Pieces("One two. Three four.\n\nFive, six seven eight nine ten.", longest=20, apart=True)
    assert left.sentences == ["One two.", "Three four.", "Five, six seven eight nine ten."]
    found = []
    while left:
        found.append(left.long())
    assert [(piece.text, piece.end) for piece in found] == [
        ("One two.", "sentence"),
        ("Three four.", "sentence"),
        ("Five, six seven", "word"),
        ("eight nine ten.", "sentence"),
    ]


@pytest.mark.parametrize("text", ["", "  ", "...", "—\n\n?!", "* * *"])
def test_nothing_to_say_gives_no_piece(text: str) -> None:
    assert cut(text) == []
    with pytest.raises(ValueError, match="taken"):
        Pieces(text, longest=10).first()


@given(WORDS, st.integers(1, 200), st.none() | st.integers(1, 40), st.none() | st.integers(1, 200))
def test_all_is_said_in_pieces_that_can_be_said(
    text: str, longest: int, first_chars: int | None, chars: int | None
) -> None:
    found = cut(text, chars, longest=longest, first_chars=first_chars)
    assert letters("".join(found)) == letters(text)
    assert all(len(piece) <= longest and any(map(str.isalnum, piece)) for piece in found)


@given(WORDS)
def test_a_first_piece_is_short_where_the_text_can_be_parted(text: str) -> None:
    found = cut(text)
    assert not found or len(found[0]) <= pieces.WHOLE_CHARS
    assert len(found) < 2 or len(found[0]) >= min(FEW_CHARS, len(found[0].split("\n")[0]))


def test_sentences_are_told_apart_across_lines_and_paragraphs() -> None:
    text = "One two.  Three,\nfour! …\n\nA heading\n\nDr. Who? ***"
    assert pieces.by_sentence(text) == ["One two.", "Three, four!", "A heading", "Dr. Who?"]
    assert pieces.by_sentence("") == pieces.by_sentence("\n \n…") == []
