"""Turns as RTTM, the line format of diarization tools: https://github.com/nryant/dscore#rttm."""

from __future__ import annotations

import re
from collections.abc import Iterable

from asr.diarization.engine import Turn

_BLANKS = re.compile(r"\s+")


def rttm(turns: Iterable[Turn], names: Iterable[str], *, recording: str) -> str:
    """Return a line for each turn; `names` are the speakers' by number, `recording` is what was diarized.

    Blanks, which separate the fields, become underscores.
    """
    label = _plain(recording) or "audio"
    said = [_plain(name) for name in names]
    lines = [
        f"SPEAKER {label} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {said[turn.speaker]} <NA> <NA>\n"
        for turn in turns
    ]
    return "".join(lines)


def _plain(name: str) -> str:
    return _BLANKS.sub("_", name.strip())
