# ruff: noqa: RUF001 - punctuation of many scripts
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.text.boundaries import find
from utils.text.sentences import Cutter, Piece, split

FOX = (
    "The quick brown fox, which had been sleeping under the old oak tree for most of the rainy afternoon, finally got "
    "up and stretched its legs while the hounds, tired and hungry, kept on running around the field without any idea "
    "of where they were supposed to be going that day."
)


def sentences(text: str) -> list[str]:
    ends = find(text).sentences
    return [text[start:end].strip() for start, end in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize(
    "parts",
    [
        ["Mr. Smith met Dr. Jones.", "They talked."],
        ["We like fruit, e.g. apples, i.e. Malus domestica.", "Good."],
        ["J. R. R. Tolkien wrote it.", "C. S. Lewis read it."],
        ["It cost 3.14 dollars at 10.30 today.", "Cheap!"],
        ["He came at 5 p.m. on Monday.", "She came at 6 p.m.", "They left."],
        ["See No. 5 and Fig. 3 vs. Fig. 4.", "No.", "I won't."],
        ["The U.S. Army and St. John met on Main St. again.", "Fine."],
        ["Give it to me.", "I changed my mind.", "He said so."],
        ["Acme Inc. makes it.", "Bought by Acme Inc.", "Then sold."],
        ["Read https://example.com/a.b?c=d.e or write to a.b@c.org.", "Thanks."],
        ["Well... maybe.", "Who knows…", "Nobody!"],
        ["He said: “Stop.”", "She did.", "(It was late.)", "Good night."],
        ['"Why?" he asked.', '"Because!"', "Then silence."],
        ["1. Open the door.", "2. Close it.", "I have 3.", "You have 5."],
        ["hello there.", "how are you.", "fine."],
        ["Born in 1995.", "he left."],
        ["Am 3. Oktober, d. h. im 20. Jahrhundert, z.B. in Berlin, war es ca. 5 Grad.", "Kalt!"],
        ["Das sind 3. und 4. Klasse.", "Ja, usw.", "Nein."],
        ["El Sr. García y la Sra. López llegan.", "¿Qué tal?", "¡Bien!"],
        ["„Halt.“", "Er sagte »nein.«", "»Wirklich?«", "Ja."],
        ["« Bonjour. »", "M. Dupont et Mme. Curie partent."],
        ["今天天气很好。", "我们去公园吧！", "“你呢？”", "好的，没问题。"],
        ["你好!", "今天呢?", "再见."],
        ["यह एक वाक्य है।", "दूसरा वाक्य॥"],
        ["مرحبا؟", "كيف حالك؟", "بخير۔"],
    ],
)
def test_a_sentence_ends_where_a_reader_would_stop(parts: list[str]) -> None:
    joined = "" if "\u4e00" <= parts[0][-2] <= "\u9fff" else " "
    assert sentences(joined.join(parts)) == parts


def test_short_sentences_share_a_piece() -> None:
    assert split("One. Two. Three. Four.", max_chars=12) == ["One. Two.", "Three. Four."]


def test_a_long_sentence_is_cut_at_clauses_into_even_parts() -> None:
    pieces = split(FOX, max_chars=170)
    assert len(pieces) == 2
    assert all(piece.endswith((",", ".")) for piece in pieces)


def test_a_clause_without_punctuation_is_cut_between_words() -> None:
    assert split("one two three four five six", max_chars=15) == ["one two three", "four five six"]


def test_a_word_longer_than_a_piece_is_cut_and_keeps_its_accents() -> None:
    word = "e\u0301" * 30
    pieces = split(word, max_chars=7)
    assert "".join(pieces) == word
    assert not any(piece.startswith("\u0301") for piece in pieces)


def test_a_hindi_word_is_not_cut_inside_a_conjunct() -> None:
    word = "क्षि" * 20
    assert all(piece.endswith("क्षि") for piece in split(word, max_chars=10))


@pytest.mark.parametrize(
    "text",
    [
        "They won 10 - 5 at home.",
        "It was 3 : 4 then.",
        "Read 10 – 20 of them.",
        "Read 10—20 of them.",
        "From 10 -5 on.",
    ],
)
def test_no_clause_ends_inside_a_score_or_a_range(text: str) -> None:
    assert find(text).clauses == [len(text)]


def test_clauses_end_beside_numbers() -> None:
    assert [len(found) for found in (find("In 1990, 20 came - 3 left.").clauses, find("1, 2, 3").clauses)] == [3, 3]


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("价格是3141592元", 6),
        ("我买了Volkswagen", 8),
        ("สวัสดีเพื่อน", 7),
        ("ไปเที่ยว", 3),
        ("อากาศเย็น", 6),
        ("彼はちょっと", 3),
    ],
)
def test_a_script_without_blanks_is_not_cut_where_characters_belong_together(text: str, longest: int) -> None:
    first, second, *_ = split(text, max_chars=longest)
    assert not (first[-1].isascii() and second[0].isascii())
    assert first[-1] not in "เแโใไ"
    assert second[0] not in "ょっ"


def test_a_blank_line_is_a_boundary_and_a_single_line_break_is_a_blank() -> None:
    assert split("Heading\n\nSome wrapped\ntext.\r\n \t\r\nEnd", max_chars=100) == [
        "Heading",
        "Some wrapped text.",
        "End",
    ]


def test_nothing_comes_of_nothing() -> None:
    assert split(" \n\t\n ", max_chars=10) == []


def test_max_chars_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_chars"):
        split("text", max_chars=0)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (FOX, "The quick brown fox,"),
        ("Hi. " + FOX, "Hi. The quick brown fox,"),
        ("Hi. How are you? I am fine, thanks.", "Hi. How are you?"),
        (
            "The quick brown fox jumps over the lazy dog without any pause at all today.",
            "The quick brown fox jumps",
        ),
        ("It was the best of times it was the worst of times it was.", "It was the best of times"),
        ("Donaudampfschifffahrts Gesellschaftskapitän Mützenband Knopf loch faden.", "Donaudampfschifffahrts"),
        ("Please bring Mr. and Mrs. Q. Jones the letter that came today.", "Please bring Mr. and"),
        ("He paid them about 12 000 dollars in cash for the whole house.", "He paid them"),
        ("Have a look at https://example.com/a,b;c?d=e.f for all that is known.", "Have a look at"),
        ("今天的天气真的非常好，我们一起去公园散步吧。", "今天的天气真的非常好，"),
        ("Short", "Short"),
    ],
)
def test_the_first_piece_is_short(text: str, first: str) -> None:
    assert Cutter(text).first(at_least=12, wanted=40, longest=250).text == first


def test_only_the_first_piece_is_short() -> None:
    cutter = Cutter("A b c d e f g h, i j k l. M n o p, q r s t.")
    assert cutter.first(at_least=12, wanted=20, longest=100) == Piece("A b c d e f g h,", "clause")
    assert cutter.next(100, 100) == Piece("i j k l. M n o p, q r s t.", "sentence")
    assert cutter.done


def test_a_piece_ends_a_sentence_or_a_clause_or_a_word() -> None:
    cutter = Cutter("One two three four, five six seven eight nine ten eleven. Twelve.")
    assert [cutter.next(22, 100) for _ in range(4)] == [
        Piece("One two three four,", "clause"),
        Piece("five six seven eight", "word"),
        Piece("nine ten eleven.", "sentence"),
        Piece("Twelve.", "sentence"),
    ]


def test_a_piece_gets_longer_rather_than_tear_a_word_or_a_number() -> None:
    cutter = Cutter("http://example.com/somewhere is about 1 000 000 km away")
    assert [cutter.next(12, 100).text for _ in range(3)] == [
        "http://example.com/somewhere",
        "is",
        "about 1 000 000 km",
    ]


def without_blanks(text: str) -> str:
    return "".join(text.split())


TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="ab.,!?… \n\"'()1Z。，—-"),
    st.lists(st.sampled_from(["Mr.", "e.g.", "3.", "3.14", "fox", "Fox.", "…", "你好。", "\n\n", "a" * 30, ","])).map(
        " ".join
    ),
)


@given(TEXTS, st.integers(1, 60))
def test_nothing_is_lost_and_no_piece_is_too_long_or_blank(text: str, max_chars: int) -> None:
    pieces = split(text, max_chars=max_chars)
    assert without_blanks("".join(pieces)) == without_blanks(text)
    assert all(0 < len(piece) <= max_chars and piece == piece.strip() for piece in pieces)


@given(TEXTS)
def test_pieces_of_pieces_are_the_pieces(text: str) -> None:
    for piece in split(text, max_chars=40):
        assert split(piece, max_chars=40) == [piece]


# fmt: off
HOSTILE = [
    "a", ".", "a.", "a. ", "1. ", "b 1. ", "Mr. ", "...x", "!", "?a", ",", "a,", "—", "\"'", "»", " »", ".)", "( ", "-",
    " - ", "。", "一", "9", "a@", "http://a.b/", "A. ", "\n", "\n ", "a\n", "\u00a0", "\u0301", "e\u0301", "\u200d",
]
# fmt: on


@pytest.mark.timeout(60)  # a quadratic step needs minutes for these, a linear one well below a second
@pytest.mark.parametrize(
    "unit",
    HOSTILE,
)
def test_a_hostile_text_takes_linear_time(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    pieces = split(text, max_chars=250)
    assert without_blanks("".join(pieces)) == without_blanks(text)
