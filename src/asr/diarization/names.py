"""What speakers are called: SPEAKER_00 or A, unless their names are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count as count_from

_LETTERS = 26


def labels(count: int, names: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """Return SPEAKER_00, SPEAKER_01... for `count` speakers, by number.

    `names` are those of speakers who are known; nobody else is given a label that is somebody's name.
    """
    return _named(lambda number: f"SPEAKER_{number:02d}", count, names or {})


def letters(count: int, names: Mapping[int, str] | None = None) -> tuple[str, ...]:
    """Return A, B, ..., Z, AA, AB... for `count` speakers, by number; `names` as in `labels`."""
    return _named(_letter, count, names or {})


def _named(label: Callable[[int], str], count: int, names: Mapping[int, str]) -> tuple[str, ...]:
    taken = set(names.values())
    spare = (other for number in count_from(count) if (other := label(number)) not in taken)
    found = (names.get(number) or label(number) for number in range(count))
    return tuple(name if number in names or name not in taken else next(spare) for number, name in enumerate(found))


def _letter(number: int) -> str:
    letter = chr(ord("A") + number % _LETTERS)
    return letter if number < _LETTERS else _letter(number // _LETTERS - 1) + letter
