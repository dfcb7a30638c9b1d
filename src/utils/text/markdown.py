"""Takes the marks of Markdown out of a text and leaves every word of it, code included, in linear time.

Not a parser: it knows what chat models write, works line by line, and keeps what is more likely arithmetic or a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"\s*(?:```|~~~)[^`]*")
_RULE = re.compile(r"[\s|:=*_+-]{3,}")
_HEADING = re.compile(r"\s*#{1,6}\s+")
_BULLET = re.compile(r"\s*[-*+•]\s+(?:\[[ xX]\]\s+)?")
_NUMBER = re.compile(r"\s*\d{1,3}[.)]\s")
# One level of brackets inside the address, as in Wikipedia's; possessive, so that a failure never backtracks.
_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()]|\([^()]*\))*+\)")
_BARE_LINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>")
_MARKS = re.compile(r"\*+|_+|~~+|`+")
_FIRST_UNSPACED_SCRIPT = "\u0e00"


def strip_markdown(text: str) -> str:
    """Return the words of `text`; headings, list items and table rows become paragraphs, since a voice pauses there."""
    return "\n".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    is_code = False
    for line in text.splitlines():
        if _FENCE.fullmatch(line):
            is_code = not is_code
            yield ""
        elif is_code:
            yield line
        elif _RULE.fullmatch(line):
            yield ""
        elif (block := _block(line)) is not None:
            yield from ("", _inline(block), "")
        else:
            yield _inline(line.lstrip("> ") if line.startswith("> ") else line)


def _block(line: str) -> str | None:
    """Return the content of a line that is a paragraph of its own, None for any other line."""
    if heading := _HEADING.match(line):
        return line[heading.end() :].rstrip("# ")
    if bullet := _BULLET.match(line):
        return line[bullet.end() :]
    if _NUMBER.match(line):
        return line
    row = line.strip()
    if row.startswith("|") and row.endswith("|"):
        return ", ".join(cell.strip() for cell in row.strip("|").split("|") if cell.strip())
    return None


def _inline(line: str) -> str:
    for _ in range(2):  # an image may be the text of a link
        line = _LINK.sub(r"\1", line)
    return _without_marks(_BARE_LINK.sub(r"\1", line))


def _without_marks(line: str) -> str:
    """Drop pairs of emphasis marks, and longer marks that lost their partner when a client cut the text."""
    dropped: list[tuple[int, int]] = []
    openers: dict[str, tuple[int, int]] = {}
    for match in _MARKS.finditer(line):
        mark, (start, end) = match[0], match.span()
        before, after = line[start - 1 : start], line[end : end + 1]
        closes = before.strip() and not (_is_word(after) and (mark[0] == "_" or after.isdecimal()))
        opens = after.strip() and not _is_word(before)
        if closes and mark in openers:
            dropped += [openers.pop(mark), (start, end)]
        elif opens:
            openers[mark] = (start, end)
        elif closes and len(mark) > 1 and not _is_word(after):
            dropped.append((start, end))
    dropped += [span for mark, span in openers.items() if len(mark) > 1]
    return _cut_out(line, sorted(dropped))


def _is_word(char: str) -> bool:
    # Scripts from Thai on write no blanks between words: emphasis begins and ends inside what looks like one.
    return char.isalnum() and char < _FIRST_UNSPACED_SCRIPT


def _cut_out(line: str, spans: list[tuple[int, int]]) -> str:
    starts = [0, *(end for _, end in spans)]
    ends = [*(start for start, _ in spans), len(line)]
    return "".join(line[start:end] for start, end in zip(starts, ends, strict=True))
