"""Cuts text into pieces for synthesis: at sentence ends, else clauses, else words, and only then inside a word."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from utils.text.boundaries import find, is_unspaced, is_wide, tears

End = Literal["word", "clause", "sentence"]
FEW_WORDS = (4, 6)
"""How many words, at least and at most, make a first piece where no clause ends early enough."""

_ZERO_WIDTH_JOINER = "\u200d"
_VIRAMA = 9
_LONGEST_CLUSTER = 16
_THAI_AND_LAO_LEADING_VOWELS = frozenset("\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4")
_SMALL_KANA = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶー々")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text, and the strongest boundary at its end."""

    text: str
    end: End


class Cutter:
    """Cuts a paragraph, which has single blanks and none around it, from its start to its end.

    Lengths are in characters. A piece is as long as `wanted` where a boundary allows it. It gets longer, up to
    `longest`, rather than end inside a word, a number or behind an abbreviation.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._marks = find(text)
        self._start = 0
        self.width = spoken_length(text) / max(1, len(text))
        """How long a character is when it is spoken, in letters."""
        self._speech_ends = next((at for at in range(len(text), 0, -1) if text[at - 1].isalnum()), 0)

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self._start >= len(self._text)

    @property
    def silent(self) -> bool:
        """Whether nothing is left that can be spoken."""
        return self._start >= self._speech_ends

    @property
    def single(self) -> bool:
        """Whether the paragraph is one sentence."""
        return self._marks.sentences[0] >= self._speech_ends

    @property
    def sentence(self) -> int:
        """Characters up to the end of the sentence that comes next."""
        ends = self._marks.sentences
        return ends[min(bisect_right(ends, self._start), len(ends) - 1)] - self._start

    def clause(self, at_least: int) -> int:
        """Return the characters up to the first end of a clause that has `at_least`."""
        ends = self._marks.clauses
        return ends[min(bisect_left(ends, self._start + at_least), len(ends) - 1)] - self._start

    def first(self, *, at_least: int, wanted: int, longest: int) -> Piece:
        """Cut off a beginning that is soon spoken: the first clause of `at_least`, else a few words.

        Both lengths are as spoken_length counts them.
        """
        return self._take(
            self._first_clause(at_least, wanted)
            or self._few_words(at_least, wanted)
            or self._end(max(1, round(wanted / self.width)), longest)
        )

    def next(self, wanted: int, longest: int, *, at_least: int = 0) -> Piece:
        """Cut off the next piece: whole sentences, else an even part of one that ends a clause or a word.

        A part that ends a word has `at_least` characters, and one that ends a clause half as many, where that can be.
        """
        return self._take(self._end(min(wanted, longest), longest, at_least))

    def _take(self, end: int) -> Piece:
        text, marks = self._text[self._start : end], self._marks
        self._start = end + (self._text[end : end + 1] == " ")
        if _is_in(marks.sentences, end):
            return Piece(text, "sentence")
        return Piece(text, "clause" if _is_in(marks.clauses, end) else "word")

    def _first_clause(self, at_least: int, wanted: int) -> int | None:
        for end in self._marks.clauses:
            length = spoken_length(self._text[:end])
            if length >= at_least or end == len(self._text):
                return end if length <= wanted else None
        return None

    def _few_words(self, at_least: int, wanted: int) -> int | None:
        text, words = self._text, self._marks.words[:wanted]
        fits = [end for end in words if at_least <= spoken_length(text[:end]) <= wanted and not tears(text, end)]
        most = words[: FEW_WORDS[-1]][-1]
        few = [end for end in fits if end <= most]
        return self._phrase([end for end in few if end in words[FEW_WORDS[0] - 1 :]] or few[-1:] or fits[:1])

    def _phrase(self, ends: Sequence[int]) -> int | None:
        """Return where a phrase most likely ends: there is a long word in front and a short one behind it."""
        words = self._marks.words

        def fit(end: int) -> int:
            at = bisect_left(words, end)
            before = end - (words[at - 1] if at else 0)
            return before - (words[at + 1] - end if at + 1 < len(words) else 0)

        return max(ends, key=fit, default=None)

    def _end(self, wanted: int, longest: int, at_least: int = 0) -> int:
        marks, start = self._marks, self._start
        limit = start + wanted
        sentence = _last(marks.sentences, start, limit)
        if sentence:
            return sentence
        even = start + _even(self.sentence, wanted)
        clause = _nearest(marks.clauses, even, start + max(wanted // 4, at_least // 2), limit)
        if clause:
            return clause
        return self._word_end(wanted, longest, at_least)

    def _word_end(self, wanted: int, longest: int, at_least: int) -> int:
        marks, start = self._marks, self._start
        limit = start + wanted
        words = marks.words[bisect_right(marks.words, start) : bisect_right(marks.words, start + longest)]
        most = min(limit, start + self.sentence - wanted // 3)  # a word or two left over would sound lost
        whole = [end for end in words if not tears(self._text, end)]
        low = start + max(wanted // 2, min(at_least, wanted) - 1)
        near = self._phrase([end for end in whole if low < end <= most])
        if near:
            return near
        if at_least and self.sentence <= min(wanted + at_least, longest):
            return start + self.sentence
        if any(map(is_unspaced, self._text[start:limit])):
            return _between_characters(self._text, start, start + _even(self.sentence, wanted))
        for ends in (whole, words):
            if ends:
                return _last(ends, start + at_least // 2, limit) or next((end for end in ends if end > limit), ends[-1])
        return _between_characters(self._text, start, start + _even(self.sentence, longest))


def split(text: str, *, max_chars: int) -> list[str]:
    """Return `text` in order as pieces of at most `max_chars` characters, none blank, each run of blanks made one.

    Short sentences share a piece; one longer than `max_chars` is cut near even parts. A blank line ends a piece.
    Raises ValueError for `max_chars` below 1.
    """
    if max_chars < 1:
        raise ValueError("max_chars must be at least 1")
    pieces: list[str] = []
    for paragraph in paragraphs(text):
        cutter = Cutter(paragraph)
        while not cutter.done:
            pieces.append(cutter.next(max_chars, max_chars).text)
    return pieces


def paragraphs(text: str) -> Iterator[str]:
    """Yield what stands between blank lines, each on one line."""
    words: list[str] = []
    for line in [*text.splitlines(), ""]:
        if found := line.split():
            words += found
        elif words:
            yield " ".join(words)
            words = []


def spoken_length(text: str) -> int:
    """Return how long a text is when it is spoken, in letters: an ideograph or a kana counts for two."""
    return len(text) + sum(map(is_wide, text))


def _is_in(ends: Sequence[int], end: int) -> bool:
    index = bisect_left(ends, end)
    return index < len(ends) and ends[index] == end


def _last(ends: Sequence[int], low: int, high: int) -> int | None:
    """Return the last end in (low, high]."""
    index = bisect_right(ends, high)
    return ends[index - 1] if index and ends[index - 1] > low else None


def _even(length: int, most: int) -> int:
    """Return the length of the first of as few even parts as have at most `most`."""
    return -(-length // -(-length // most))


def _nearest(ends: Sequence[int], target: int, low: int, high: int) -> int | None:
    """Return the end closest to `target` in (low, high]."""
    index = bisect_left(ends, target)
    around = [end for end in ends[max(0, index - 1) : index + 1] if low < end <= high]
    return min(around, key=lambda end: abs(end - target), default=None)


def _between_characters(text: str, start: int, end: int) -> int:
    """Move a cut to the left, out of a number or a word with letters, else until it tears no letter from its accents.

    Where kana end and other characters begin, a Japanese word begins.
    """
    places = range(end, max(start, end - _LONGEST_CLUSTER), -1)
    free = [place for place in places if not _belong_together(text[place - 1], text[place])]
    between = [place for place in free if not (_is_spelled(text[place - 1]) and _is_spelled(text[place]))]
    phrase = [place for place in between if _is_hiragana(text[place - 1]) and not _is_hiragana(text[place])]
    place = next(iter(phrase or between or free), end)
    return place - (text[place - 1] == " ")


def _belong_together(before: str, after: str) -> bool:
    if _ZERO_WIDTH_JOINER in {before, after} or before in _THAI_AND_LAO_LEADING_VOWELS or after in _SMALL_KANA:
        return True
    return unicodedata.category(after).startswith("M") or unicodedata.combining(before) == _VIRAMA


def _is_spelled(char: str) -> bool:
    """Tell whether a character is one of a number, or of a word in a script with blanks."""
    return char in ".," or (char.isalnum() and not is_unspaced(char))


def _is_hiragana(char: str) -> bool:
    return "\u3041" <= char <= "\u309f"
