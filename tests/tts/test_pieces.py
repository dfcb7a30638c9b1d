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
    longest = {chars: max(map(len, cut(PARAGRAPH, chars))) for chars in (32, 60, 180)}
    assert longest[32] < longest[60] < longest[180]


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


def test_what_is_late_goes_on_to_the_end_of_a_clause_and_not_of_a_few_words() -> None:
    text = "The stack speaks to all who listen and it goes on speaking as long as they let it, hour after hour, daily."
    left = Pieces(text, longest=180, first_chars=32)
    assert left.first().text == "The stack speaks to all"
    assert left.next(5).text == "who listen and it goes on speaking as long as they let it,"
    assert left.next(0).text == "hour after hour,"


@pytest.mark.parametrize("chars", range(32, 60))
def test_no_word_or_two_are_left_over(chars: int) -> None:
    text = "The stack speaks, and nobody who is there has to wait for all of them in the end. It is well."
    assert all(len(piece.split()) >= 3 for piece in cut(text, chars))


def test_what_others_wait_for_grows_by_whole_sentences() -> None:
    left = Pieces("The stack speaks, and it listens. Yes. " + PARAGRAPH, longest=180, first_chars=32)
    assert left.first().text == "The stack speaks,"
    assert left.next(0, shared=True).text == "and it listens. Yes."
    assert left.next(None, shared=True).text == "The stack speaks, and it listens."
    rest = PARAGRAPH.partition("listens. ")[2]
    assert left.next(5, shared=True).text == rest[:54]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("今天的天气真的非常好我们一起去公园散步吧然后我们再回家吃晚饭看电视好不好", "今天的天气真的非常好我们"),
        ("彼は昨日の夜遅くに東京駅から新幹線に乗って大阪へ向かったそうですがまだ着いていません", "彼は昨日の夜遅くに"),
        ("我们公司在今年一共卖出了Volkswagen汽车一百二十万辆比去年多了三十万辆左右", "我们公司在今年一共卖出了"),
        ("我们公司在今年一共卖出了123456789辆汽车比去年多了三十万辆左右大家都很高兴", "我们公司在今年一共卖出了"),
    ],
)
def test_a_text_without_blanks_begins_with_a_few_characters(text: str, first: str) -> None:
    left = Pieces(text, longest=180, first_chars=32)
    assert not left.whole
    assert left.first().text.startswith(first)
    assert len(left.next(10).text) <= 32


def test_ideographs_count_for_two_letters() -> None:
    assert Pieces("我们一起去公园散步吧。" * 1, longest=180, first_chars=32).whole
    assert not Pieces(
        "我们一起去公园散步吧然后我们再回家吃晚饭看电视好不好我们一起去。", longest=180, first_chars=32
    ).whole


@pytest.mark.parametrize(("length", "short"), [(290, True), (310, False)])
def test_a_short_text_is_one_sentence_that_is_not_long(length: int, short: bool) -> None:
    text = ("word " * 100)[: length - 1].strip() + "."
    assert Pieces(text, longest=180, first_chars=32).short is short
    assert not Pieces("Hi. " + text, longest=180, first_chars=32).short
    assert Pieces("我" * (length // 2), longest=180).short is short


def test_a_mark_that_stands_alone_is_said_with_the_word_before_it() -> None:
    text = "Mais qui donc a dit à tous ces gens de venir ici ce soir ? Vraiment ? ! Moi non plus !"
    assert " ".join(cut(text, 20)) == text
    assert " ".join(cut(text, None)) == text
    assert pieces.by_sentence("Tu viens ? Oui !") == ["Tu viens ?", "Oui !"]
    for chars in range(12, 60):
        assert not any(piece[0] in "?!" for piece in cut(text, chars))


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
