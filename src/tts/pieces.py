"""Cuts a text into the pieces an engine is given, one after the other, so that it is heard early and without gaps."""

from __future__ import annotations

import re

from utils.text import boundaries, normalize, sentences


def cut(text: str, *, max_chars: int, first_chars: int | None) -> list[str]:
    """Return the pieces of at most `max_chars` characters that have something to say.

    With `first_chars` a text of several sentences begins with a short piece, which is soon spoken, and the next ones
    are half as long as the rest, so that they are ready before the first is over. A single sentence stays whole.
    """
    if first_chars and _is_one_sentence(text, max_chars):
        first_chars = None
    pieces = sentences.split(text, max_chars=max_chars, first_chars=first_chars)
    if first_chars and len(pieces) > 1:
        pieces[1:2] = sentences.split(pieces[1], max_chars=max(max_chars // 2, 1))
    return [piece for piece in pieces if normalize.has_speech(piece)]


def by_sentence(text: str) -> list[str]:
    """Return the sentences of a text that have something to say, each on one line."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        line = " ".join(paragraph.split())
        start = 0
        for end in boundaries.find(line).sentences if line else ():
            found.append(line[start:end].strip())
            start = end
    return [sentence for sentence in found if normalize.has_speech(sentence)]


def _is_one_sentence(text: str, max_chars: int) -> bool:
    return len(text) <= max_chars and len(boundaries.find(" ".join(text.split())).sentences) == 1
