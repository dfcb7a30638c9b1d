"""Makes written text fit to be spoken: what has no sound goes, and the words stay as they are.

Numbers, dates and abbreviations are the engine's to read; nothing is expanded here. Linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import urlsplit

from utils.text.markdown import strip_markdown

# Controls, bidirectional marks, invisible operators, variation selectors, surrogates, private use, tags and
# non-characters. The zero-width joiners stay, because Persian and the scripts of India spell with them.
_SILENT = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe00-\ufe0f"
    "\ufdd0-\ufdef\ufeff\ufff9-\uffff\ud800-\udfff\ue000-\uf8ff\U000e0000-\U000e0fff\U000f0000-\U0010ffff]+"
)
# Unicode's emoji and the pictographs around them, without the circled digits U+2776-2793, which are read.
_EMOJI = (
    "\u231a\u231b\u2328\u23cf\u23e9-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2775\u2794-\u27bf"
    "\u2934\u2935\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_EMOJI_RUN = re.compile(rf" ?[{_EMOJI}][{_EMOJI}\u200d ]*")
_CLOSING = frozenset(".,!?;:…)")
_URL = re.compile(r"\bhttps?://\S+", re.IGNORECASE)
_AFTER_URL = ".,!?;:'\")]}>…"
_MOST_MARKS = 30
"""Of the Stream-Safe Text Format (UAX 15): normalising a longer run takes quadratic time."""


def for_speech(text: str) -> str:
    """Return `text` without Markdown, emoji and invisible characters, in NFC, with blanks squeezed.

    Paragraphs stay apart by one blank line. The result is empty when nothing is left.
    """
    visible = "".join(_with_few_marks(_SILENT.sub("", text)))
    plain = strip_markdown(unicodedata.normalize("NFC", visible))
    lines = [" ".join(_EMOJI_RUN.sub(_gap, " ".join(line.split())).split()) for line in plain.splitlines()]
    return "\n".join(_single_blank_lines(lines))


def as_written(text: str) -> str:
    """Return `text` with its Markdown and emoji, in NFC, and only without what no voice could read."""
    visible = "".join(_with_few_marks(_SILENT.sub("", text)))
    return "\n".join(" ".join(line.split()) for line in unicodedata.normalize("NFC", visible).splitlines())


def with_short_urls(text: str) -> str:
    """Return `text` with the host alone for each web address: the rest of it is noise when it is read out."""
    return _URL.sub(_host, text)


def _host(url: re.Match[str]) -> str:
    address = url[0].rstrip(_AFTER_URL)
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:  # brackets that hold no address
        host = ""
    return host.removeprefix("www.") + url[0][len(address) :]


def has_speech(text: str) -> bool:
    """Tell whether there is anything to say: a letter or a digit of any script."""
    return any(char.isalnum() for char in text)


def _with_few_marks(text: str) -> Iterator[str]:
    run = 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run <= _MOST_MARKS:
            yield char


def _gap(emoji: re.Match[str]) -> str:
    following = emoji.string[emoji.end() : emoji.end() + 1]
    return "" if following in _CLOSING else " "


def _single_blank_lines(lines: list[str]) -> Iterator[str]:
    blank = False
    first = True
    for line in lines:
        if line:
            if blank and not first:
                yield ""
            yield line
            first = blank = False
        else:
            blank = True
