"""Cuts text into pieces for synthesis: at sentence ends, else clauses, else words, and only then inside a word."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from utils.text.boundaries import Boundaries, find

FIRST_CLAUSE_CHARS = 12
"""A first piece shorter than this would be over before the second one is ready."""
FIRST_WORDS = (6, 5, 4)
"""How many words make a first piece where no clause ends early enough; the first number that fits is taken."""

_ZERO_WIDTH_JOINER = "\u200d"
_VIRAMA = 9
_LONGEST_CLUSTER = 16


def split(text: str, *, max_chars: int, first_chars: int | None = None) -> list[str]:
    """Return `text` in order as pieces of at most `max_chars` characters, none blank, each run of blanks made one.

    Short sentences share a piece; one longer than `max_chars` is cut near even parts. A blank line ends a piece.
    With `first_chars` the first piece is as short as still sounds natural, and no longer than that where the text lets
    it be: the sooner it is spoken, the sooner the listener hears something. Raises ValueError for `max_chars` below 1.
    """
    if max_chars < 1:
        raise ValueError("max_chars must be at least 1")
    pieces: list[str] = []
    for paragraph in _paragraphs(text):
        first = min(first_chars, max_chars) if first_chars and not pieces else None
        pieces += _pieces(paragraph, max_chars, first)
    return pieces


def _paragraphs(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if words := line.split():
            lines += words
        elif lines:
            yield " ".join(lines)
            lines = []


def _pieces(text: str, max_chars: int, first_chars: int | None) -> Iterator[str]:
    marks = find(text)
    start = 0
    while start < len(text):
        end = _first_end(marks, max_chars, first_chars) if first_chars and start == 0 else None
        end = end or _end(text, marks, start, max_chars)
        yield text[start:end]
        start = end + (text[end : end + 1] == " ")


def _first_end(marks: Boundaries, max_chars: int, first_chars: int) -> int | None:
    """Return where a quick first piece ends: a clause, else a few words, else the sentence; None for none of them."""
    clause = marks.clauses[min(bisect_left(marks.clauses, FIRST_CLAUSE_CHARS), len(marks.clauses) - 1)]
    few_words = [marks.words[count - 1] for count in FIRST_WORDS if count <= len(marks.words)]
    fits = [end for end in (clause, *few_words) if end <= first_chars]
    if fits:
        return fits[0]
    return marks.sentences[0] if marks.sentences[0] <= max_chars else None


def _end(text: str, marks: Boundaries, start: int, max_chars: int) -> int:
    """Return where the piece that begins at `start` ends."""
    limit = start + max_chars
    index = bisect_right(marks.sentences, limit)
    if index and marks.sentences[index - 1] > start:
        return marks.sentences[index - 1]
    rest = marks.sentences[index] - start
    even = start + -(-rest // -(-rest // max_chars))
    clause = _nearest(marks.clauses, even, start + max_chars // 4, limit)
    return clause or _nearest(marks.words, even, start, limit) or _between_characters(text, start, even)


def _nearest(ends: Sequence[int], target: int, low: int, high: int) -> int | None:
    """Return the end closest to `target` in (low, high]."""
    index = bisect_left(ends, target)
    around = [end for end in ends[max(0, index - 1) : index + 1] if low < end <= high]
    return min(around, key=lambda end: abs(end - target), default=None)


def _between_characters(text: str, start: int, end: int) -> int:
    """Move a cut inside a word to the left until it tears no letter from its accents."""
    for place in range(end, max(start, end - _LONGEST_CLUSTER), -1):
        if not _belong_together(text[place - 1], text[place]):
            return place
    return end


def _belong_together(before: str, after: str) -> bool:
    if _ZERO_WIDTH_JOINER in {before, after}:
        return True
    return unicodedata.category(after).startswith("M") or unicodedata.combining(before) == _VIRAMA
