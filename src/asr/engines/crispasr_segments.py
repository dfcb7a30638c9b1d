"""CrispASR's segments as ours: with the blanks that the library takes away, and words that are parts of the text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from asr.transcript import Segment, Word, spread_words

_UNSPACED = re.compile(r"THAI|LAO|KHMER|MYANMAR")


def segment_of(found: Any, duration: float, *, words: bool) -> Segment | None:
    """Return a segment of a window of `duration` seconds, None for one without text.

    `found` is the library's SessionSegment: its text has no blanks around it, its times are seconds, and those of its
    words may be None. Words are told where `words` asks for them; those that cannot be placed share the segment's time.
    """
    stripped = str(found.text).strip()
    if not stripped:
        return None
    text = stripped if _is_unspaced(stripped[0]) else f" {stripped}"
    start = min(max(float(found.start), 0.0), duration)
    end = min(max(float(found.end), start), duration)
    logprobs = [math.log(token.confidence) for token in found.tokens if 0 < token.confidence <= 1]
    return Segment(
        start=start,
        end=end,
        text=text,
        avg_logprob=sum(logprobs) / len(logprobs) if logprobs else 0.0,
        no_speech_prob=max(float(found.no_speech_prob), 0.0),
        words=_words(found.words, text, start, end) if words else (),
    )


def _words(found: Sequence[Any], text: str, start: float, end: float) -> tuple[Word, ...]:
    """Return the library's words as parts of the text, each with the blank before it; else shares of its time."""
    words: list[Word] = []
    done = 0
    for each in found:
        part = str(each.text).strip()
        place = text.find(part, done)
        if not part:
            continue
        if each.start is None or each.end is None or place < 0 or text[done:place].strip():
            return spread_words(text, start, end)
        first, done = done, place + len(part)
        at = min(max(float(each.start), start), end)
        until = min(max(float(each.end), at), end)
        words.append(Word(text[first:done], at, until, probability=min(max(float(each.confidence), 0.0), 1.0)))
    return tuple(words) if words and done == len(text) else spread_words(text, start, end)


def _is_unspaced(character: str) -> bool:
    """Return whether a script puts no blanks between words."""
    wide = unicodedata.east_asian_width(character) in {"W", "F"}
    hangul = "HANGUL" in unicodedata.name(character, "")
    return (wide and not hangul) or bool(_UNSPACED.match(unicodedata.name(character, "")))
