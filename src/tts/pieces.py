"""Cuts a text into the pieces an engine is given, each when it is needed, as long as there is time to make it."""

from __future__ import annotations

from utils.text import boundaries, normalize
from utils.text.sentences import Cutter, Piece, paragraphs, spoken_length

WHOLE_CHARS = 60
"""A text of one sentence that is no longer stays whole. In letters, as spoken_length counts them."""
SHORT_CHARS = 300
"""A text of one sentence that is no longer is spoken soon. In letters, too."""
FEW_CHARS = 12
"""A first piece shorter than this would be over before the second one is ready."""


class Pieces:
    """The pieces of a text, in order; no piece is longer than `longest`, without speech, or of two paragraphs.

    With `first_chars` the first piece is the shortest that sounds natural, a clause or a few words, about that long at
    most: the sooner it is spoken, the sooner the listener hears something. With `apart` no piece is of two sentences.
    """

    def __init__(self, text: str, *, longest: int, first_chars: int | None = None, apart: bool = False) -> None:
        self.sentences = by_sentence(text) if apart else []
        """The sentences, where they are kept apart."""
        units = self.sentences if apart else [each for each in paragraphs(text) if normalize.has_speech(each)]
        self._units = iter(units)
        self._longest = longest
        self._first_chars = first_chars and min(first_chars, longest)
        self._longest_yet = 0
        self._cutter = self._following()
        single = len(units) == 1 and self._cutter is not None and self._cutter.single
        self.short = single and spoken_length(units[0]) <= SHORT_CHARS
        """Whether the text is one sentence, and not a long one."""
        self.whole = single and len(units[0]) <= longest
        """Whether it is one piece."""
        if first_chars:
            self.whole = self.whole and spoken_length(units[0]) <= WHOLE_CHARS

    def __bool__(self) -> bool:
        """Tell whether there is another piece."""
        return self._cutter is not None

    def first(self, at_least: int = FEW_CHARS, at_most: int = 0) -> Piece:
        """Take the first piece, of `at_least` characters where it does not have to sound unnatural for that.

        It may have `at_most` characters where that is more than `first_chars`.
        """
        cutter = self._left()
        if self.whole or not self._first_chars:
            return self._take(cutter.next(self._longest, self._longest))
        wanted = min(max(self._first_chars, at_most), self._longest)
        return self._take(cutter.first(at_least=at_least, wanted=wanted, longest=self._longest))

    def next(self, chars: int | None = None, *, shared: bool = False) -> Piece:
        """Take a piece of about so many characters at most; without a number it goes on to the end of a sentence.

        A few words are no piece: what is too late already is not made sooner by parts that cost more together. So it
        has about `first_chars`, or goes on to the end of a clause that is near. When it is `shared`, because others
        wait for the engine, it is of whole sentences rather than shorter than one before, and grows.
        """
        cutter = self._left()
        few = round((self._first_chars or 0) / cutter.width)
        if chars is None:
            wanted = max(cutter.sentence, few, 2 * self._longest_yet if shared else 0)
        elif shared and chars < max(few, self._longest_yet * 3 // 2):
            wanted = max(cutter.sentence, few, 2 * self._longest_yet)
        elif chars < few:
            wanted = min(cutter.clause(few * 3 // 8), 2 * few)
        else:
            wanted = chars
        return self._take(cutter.next(wanted, self._longest, at_least=few * 3 // 4))

    def long(self) -> Piece:
        """Take as much as a piece may have."""
        return self.next(self._longest)

    def _left(self) -> Cutter:
        if self._cutter is None:
            raise ValueError("all pieces are taken")
        return self._cutter

    def _take(self, piece: Piece) -> Piece:
        while not normalize.has_speech(piece.text):
            piece = self._left().next(self._longest, self._longest)
        self._longest_yet = max(self._longest_yet, len(piece.text))
        if self._left().silent:
            self._cutter = self._following()
        return piece

    def _following(self) -> Cutter | None:
        unit = next(self._units, None)
        return None if unit is None else Cutter(unit)


def by_sentence(text: str) -> list[str]:
    """Return the sentences of a text that have something to say, each on one line."""
    found = []
    for line in paragraphs(text):
        start = 0
        for end in boundaries.find(line).sentences:
            found.append(line[start:end].strip())
            start = end
    return [sentence for sentence in found if normalize.has_speech(sentence)]
