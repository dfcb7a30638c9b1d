"""What speakers are called whose names are not known, and beside those whose are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asr.diarization.names import labels, letters


def test_labels_count_from_zero() -> None:
    assert labels(3) == ("SPEAKER_00", "SPEAKER_01", "SPEAKER_02")
    assert labels(101)[-1] == "SPEAKER_100"
    assert labels(0) == letters(0) == ()


def test_letters_go_on_as_columns_of_a_table_do() -> None:
    found = letters(26 + 26 * 26 + 1)
    assert (found[0], found[25], found[26], found[27], found[51], found[52]) == ("A", "Z", "AA", "AB", "AZ", "BA")
    assert found[-2:] == ("ZZ", "AAA")
    assert len(set(found)) == len(found)


def test_a_name_takes_the_place_of_a_label() -> None:
    assert letters(3, {1: "Ann"}) == ("A", "Ann", "C")
    assert labels(2, {0: "Ann", 1: "Bo"}) == ("Ann", "Bo")


@pytest.mark.parametrize("label", [labels, letters])
def test_nobody_else_is_called_as_somebody_known_is(label: Callable[..., tuple[str, ...]]) -> None:
    plain = label(4)
    found = label(3, {0: plain[2], 1: plain[3]})
    assert found[:2] == (plain[2], plain[3])
    assert found[2] not in plain
