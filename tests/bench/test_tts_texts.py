"""What is spoken in `make bench-tts`."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.tts_texts import BRIEF, LENGTHS, LONG, TWO_SENTENCES, Length, Supply
from tts.pieces import Pieces


@pytest.mark.parametrize("length", LENGTHS, ids=lambda length: length.name)
def test_texts_of_a_length_are_different_and_equally_long(length: Length) -> None:
    assert len(length.texts) == len(set(length.texts)) == length.count
    assert {len(text) for text in length.texts} == {length.characters}


def test_no_piece_is_spoken_twice() -> None:
    """An engine remembers pieces, not texts."""
    spoken: Counter[str] = Counter()
    for text in (text for length in LENGTHS for text in length.texts):
        pieces = Pieces(text, longest=400, first_chars=32)
        spoken[pieces.first().text] += 1
        while pieces:
            spoken[pieces.next().text] += 1
    assert len(spoken) > 300
    assert spoken.most_common(1)[0][1] == 1


def test_the_number_of_sentences_is_what_the_name_says() -> None:
    assert all(text.count(".") == 2 for text in TWO_SENTENCES.texts)
    assert all(text.count(".") == 1 for text in BRIEF.texts)


def test_a_supply_goes_on_where_it_was() -> None:
    supply = Supply()
    first = supply.take(TWO_SENTENCES, clients=2, rounds=3)
    other = supply.take(BRIEF, clients=1, rounds=1)
    later = supply.take(TWO_SENTENCES, clients=1, rounds=1)
    assert [text for one in [*first, *later] for text in one] == list(TWO_SENTENCES.texts[:7])
    assert other == [BRIEF.texts[:1]]


def test_a_supply_has_an_end() -> None:
    supply = Supply()
    supply.take(LONG, clients=4, rounds=6)
    with pytest.raises(ValueError, match="24 texts of 1000 characters"):
        supply.take(LONG, clients=1, rounds=1)
