from __future__ import annotations

import pytest

from tts.words import letters, place, spread, words_of


def evenly(text: str, seconds: float = 1.0) -> list[tuple[float, float]]:
    step = seconds / len(text)
    return [(at * step, (at + 1) * step) for at in range(len(text))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world!", ["Hello", "world"]),
        ("It's “quoted” — isn't it?…", ["It's", "quoted", "isn't", "it"]),
        ("50% of $5.30 (really)", ["50%", "of", "$5.30", "really"]),
        ("… -- !?", []),
        ("state-of-the-art", ["state-of-the-art"]),
        ("東京 is かな", ["東", "京", "is", "か", "な"]),
        ("¿Qué?", ["Qué"]),
        ("", []),
    ],
)
def test_words_come_without_the_punctuation_around_them(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_letters_forget_case_and_accents() -> None:
    assert letters("Qué!") == "que"
    assert letters("ẞ") == "ss"


def test_the_same_text_is_found_where_it_is() -> None:
    found = place(["Hello", "world"], ["hello", "world"], "helloworld", evenly("helloworld"))
    assert [(each.word, each.start, each.end) for each in found] == [("Hello", 0, 0.5), ("world", 0.5, 1.0)]


def test_a_pause_between_words_belongs_to_none() -> None:
    spans = [(0.0, 0.1), (0.1, 0.2), (1.0, 1.1), (1.1, 1.2)]
    found = place(["ab", "cd"], ["ab", "cd"], "abcd", spans)
    assert [(each.start, each.end) for each in found] == [(0.0, 0.2), (1.0, 1.2)]


def test_what_was_heard_otherwise_lies_between_its_neighbours() -> None:
    heard = "itwastwentytwentyfourtoday"
    spans = evenly(heard, 26.0)
    found = {
        each.word: each for each in place(["it", "was", "2024", "today"], ["it", "was", "2024", "today"], heard, spans)
    }
    assert found["was"].end == pytest.approx(5)
    assert found["2024"].start == pytest.approx(5)
    assert found["2024"].end == pytest.approx(21)
    assert found["today"].start == pytest.approx(21)


def test_what_was_only_heard_is_left_out() -> None:
    heard = "uhmhellouhmworldthanks"
    found = place(["hello", "world"], ["hello", "world"], heard, evenly(heard, 22.0))
    assert [(each.start, each.end) for each in found] == [(3, 8), (11, 16)]


def test_words_come_in_order_and_never_overlap() -> None:
    heard = "thetheofofthe"
    words = ["of", "the", "of", "the", "the", "of", "x"]
    found = place(words, words, heard, evenly(heard))
    edges = [edge for each in found for edge in (each.start, each.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= 1.0
    assert [each.word for each in found] == words


def test_nothing_heard_gives_nothing_and_spreading_covers_everything() -> None:
    assert place(["a"], ["a"], "", []) == []
    assert [(each.start, each.end) for each in spread(["a", "bcd"], 1.0, 5.0)] == [(1.0, 2.0), (2.0, 5.0)]
    assert spread([], 0.0, 1.0) == []
