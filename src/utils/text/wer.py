"""Word error rate: how far a transcript is from what was said."""

from __future__ import annotations

import re
import unicodedata

_NOT_WORD = re.compile(r"[^\w']+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation and accents kept."""
    plain = unicodedata.normalize("NFC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    return [word for word in _NOT_WORD.sub(" ", plain).replace("_", " ").split() if word.strip("'")]


def edits(reference: list[str], hypothesis: list[str]) -> int:
    """Return the Levenshtein distance between two lists of words."""
    previous = list(range(len(hypothesis) + 1))
    for row, wanted in enumerate(reference, start=1):
        current = [row]
        for column, given in enumerate(hypothesis, start=1):
            substitution = previous[column - 1] + (wanted != given)
            current.append(min(substitution, previous[column] + 1, current[column - 1] + 1))
        previous = current
    return previous[-1]


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Return edits per word of the reference; 0.0 for two empty texts, the number of words for an empty reference."""
    said = words(reference)
    return edits(said, words(hypothesis)) / max(len(said), 1)
