"""Cuts a transcript into subtitle cues: clean text, whole milliseconds, in order, none empty, none overlapping."""

from __future__ import annotations

import re
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from asr.result import SubtitleLayout, TranscriptResult
from asr.transcript import Segment, Word
from utils.timestamps import milliseconds

PAUSE_SECONDS = 1.0
"""A silence this long between two words ends the cue, when cues are laid out by words."""

_ARROW = re.compile(r"-{2,}>")
# Bidirectional embeddings and isolates must be closed in the line that opens them, and a cue is cut anywhere.
_DROPPED = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_DROPPED_CATEGORIES = frozenset({"Cc", "Cs"})
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on screen from `start` to `end` (milliseconds); the lines are clean and not empty, but not escaped."""

    start: int
    end: int
    lines: tuple[str, ...]
    speaker: str | None = None


def clean(text: str) -> str:
    """Return `text` as one line that no subtitle parser can misread; empty when nothing of it would be seen."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = " ".join("".join(char for char in line if char.isprintable() or _is_harmless(char)).split())
    line = _ARROW.sub("->", line)
    return line if any(unicodedata.category(char) not in _INVISIBLE_CATEGORIES for char in line) else ""


def cues(result: TranscriptResult) -> list[Cue]:
    """Return the cues of a transcript: one per segment, or laid out by words when the result has a layout."""
    found = [cue for segment in result.segments for cue in _of_segment(segment, result.layout)]
    return _without_overlap([cue for cue in found if cue.lines])


def _is_harmless(char: str) -> bool:
    return char not in _DROPPED and unicodedata.category(char) not in _DROPPED_CATEGORIES


def _of_segment(segment: Segment, layout: SubtitleLayout | None) -> Iterator[Cue]:
    speaker = clean(segment.speaker or "") or None
    if layout is None:
        line = clean(segment.text)
        yield Cue(milliseconds(segment.start), milliseconds(segment.end), (line,) if line else (), speaker)
        return
    for phrase in _phrases(_words(segment, layout.max_line_width)):
        lines = _balanced(phrase, layout.max_line_width)
        for index in range(0, len(lines), layout.max_line_count):
            block = lines[index : index + layout.max_line_count]
            texts = tuple(text for line in block if (text := clean("".join(word.word for word in line))))
            yield Cue(milliseconds(block[0][0].start), milliseconds(block[-1][-1].end), texts, speaker)


def _without_overlap(found: list[Cue]) -> list[Cue]:
    """Make every cue last at least a millisecond and end when the next one starts at the latest."""
    ordered = sorted(found, key=lambda cue: cue.start)
    starts: list[int] = []
    for cue in ordered:
        starts.append(max(cue.start, starts[-1] + 1) if starts else cue.start)
    limits = [*starts[1:], sys.maxsize][: len(starts)]
    return [
        replace(cue, start=start, end=max(start + 1, min(cue.end, limit)))
        for cue, start, limit in zip(ordered, starts, limits, strict=True)
    ]


def _words(segment: Segment, width: int) -> Iterator[Word]:
    """Yield clean words, none longer than a line; a segment without words shares its time out by length."""
    for word in segment.words or (Word(segment.text, segment.start, segment.end),):
        lead = " " if word.word[:1].isspace() else ""
        texts: list[str] = []
        for token in clean(word.word).split():
            pieces = [token[index : index + width] for index in range(0, len(token), width)]
            texts += [lead + pieces[0], *pieces[1:]]
            lead = " "
        yield from _spread(texts, word)


def _spread(texts: Sequence[str], word: Word) -> Iterator[Word]:
    total = sum(map(len, texts))
    seconds = word.end - word.start
    done = 0
    for text in texts:
        start = word.start + seconds * done / total
        done += len(text)
        yield Word(text, start, word.start + seconds * done / total, word.probability)


def _phrases(words: Iterator[Word]) -> Iterator[list[Word]]:
    phrase: list[Word] = []
    for word in words:
        if phrase and word.start - phrase[-1].end >= PAUSE_SECONDS:
            yield phrase
            phrase = []
        phrase.append(word)
    if phrase:
        yield phrase


def _filled(words: Sequence[Word], width: int) -> list[list[Word]]:
    """Break words into lines as late as `width` allows; a longer word has a line of its own."""
    lines: list[list[Word]] = []
    length = 0
    for word in words:
        if lines and length + len(word.word) <= width:
            lines[-1].append(word)
            length += len(word.word)
        else:
            lines.append([word])
            length = len(word.word.lstrip())
    return lines


def _balanced(words: Sequence[Word], width: int) -> list[list[Word]]:
    """Break words into as few lines as `width` allows, and those as even as possible: no orphan at the end."""
    lines = _filled(words, width)
    if len(lines) == 1:
        return lines
    narrowest = bisect_left(range(width), x=True, key=lambda tried: len(_filled(words, tried)) <= len(lines))
    return _filled(words, narrowest)
