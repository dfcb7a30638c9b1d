"""The words of a text, and where in its speech they are: found by comparing it with what was said or heard."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import accumulate

import numpy as np

from tts.voice import SpokenWord

Span = tuple[float, float]
"""Start and end in seconds."""
# Scripts without blanks between words: a character of Han or kana stands for a word.
_UNSPACED = "\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s\u2013\u2014\u2026{_UNSPACED}]+")
_READ_OUT = frozenset("%#@&")


def words_of(text: str) -> list[str]:
    """Return the words of a text in order, without the punctuation around them."""
    found = (_without_punctuation(match[0]) for match in _WORD.finditer(text))
    return [word for word in found if any(map(str.isalnum, word))]


def letters(word: str) -> str:
    """Return what of a word is compared: its letters and digits, in lower case and without accents."""
    plain = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in plain if char.isalnum())


def place(words: Sequence[str], keys: Sequence[str], heard: str, spans: Sequence[Span]) -> list[SpokenWord]:
    """Return when each of `words` is spoken.

    `keys` are the words as they are written in `heard`, such as letters or phonemes; `spans` are the times of the
    characters of `heard`. What is the same in both is found, what lies between is spread evenly. Words never overlap,
    and come in order. Empty when nothing was heard.
    """
    if not heard or not words:
        return []
    text = "".join(keys)
    ends = list(accumulate(map(len, keys)))
    firsts, lasts = _positions(text, heard, [0, *ends[:-1]], ends)
    found: list[SpokenWord] = []
    before = 0.0
    for word, first, last in zip(words, firsts, lasts, strict=True):
        start = max(before, _time_at(spans, first))
        before = max(start, _end_at(spans, last))
        found.append(SpokenWord(word, start, before))
    return found


def spread(words: Sequence[str], start: float, end: float) -> list[SpokenWord]:
    """Return the words spread over a span by their lengths, for want of anything better."""
    edges = np.cumsum([0, *map(len, words)]) / max(sum(map(len, words)), 1) * (end - start) + start
    return [SpokenWord(word, float(edges[at]), float(edges[at + 1])) for at, word in enumerate(words)]


def _without_punctuation(word: str) -> str:
    start, end = 0, len(word)
    while start < end and _is_punctuation(word[start]):
        start += 1
    while start < end and _is_punctuation(word[end - 1]):
        end -= 1
    return word[start:end]


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") and char not in _READ_OUT


def _positions(
    text: str, heard: str, starts: Sequence[int], ends: Sequence[int]
) -> tuple[Sequence[float], Sequence[float]]:
    """Return where in `heard` the places of `text` are, between characters and possibly inside of them.

    At the edge of something that was only heard, a start is behind it and an end before it.
    """
    blocks = SequenceMatcher(None, text, heard, autojunk=False).get_matching_blocks()
    anchors = [(0, 0)]
    for in_text, in_heard, size in blocks:  # the last one is empty and stands for both ends
        anchors += [(in_text, in_heard), (in_text + size, in_heard + size)]
    behind = dict(anchors)
    before = dict(reversed(anchors))
    return (
        np.interp(starts, list(behind), list(behind.values())).tolist(),
        np.interp(ends, sorted(before), [before[at] for at in sorted(before)]).tolist(),
    )


def _time_at(spans: Sequence[Span], position: float) -> float:
    index = min(math.floor(position), len(spans) - 1)
    start, end = spans[index]
    return start + (end - start) * min(position - index, 1.0)


def _end_at(spans: Sequence[Span], position: float) -> float:
    index = max(math.ceil(position) - 1, 0)
    start, end = spans[min(index, len(spans) - 1)]
    return start + (end - start) * min(position - index, 1.0)
