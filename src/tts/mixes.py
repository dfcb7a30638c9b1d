"""Names of voice mixes: `a(2)+b(1)` is two parts of voice a and one of voice b."""

from __future__ import annotations

import re
from collections.abc import Callable

from core.errors import InvalidRequest
from tts.voice import Share, Voice, quoted

MAX_VOICES = 8
MAX_WEIGHT = 999_999
_WEIGHT = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_NUMBER_LIKE = re.compile(r"[-0-9.,eE\s]*")


def is_mix(name: str) -> bool:
    """Tell whether a name that is no voice's may be that of a mix."""
    _, bracket, inside = name.rstrip().rpartition("(")
    return "+" in name or bool(bracket and inside.endswith(")") and _NUMBER_LIKE.fullmatch(inside[:-1]))


def mixed(name: str, find: Callable[[str], Voice]) -> Voice:
    """Return the voice a mix is; `find` returns the voices of its parts, which must be built in.

    The heaviest part, of equals the first, decides the language. Raises InvalidRequest, and what `find` raises.
    """
    if name.count("+") >= MAX_VOICES:
        raise InvalidRequest(f"a mix has at most {MAX_VOICES} voices", param="voice")
    parts = [_part(part) for part in name.split("+")]
    total = sum(weight for _, weight in parts)
    if not total > 0:
        raise InvalidRequest("the weights of a mix must add up to more than 0", param="voice")
    voices = [find(part) for part, _ in parts]
    if recorded := next((voice for voice in voices if voice.type != "builtin"), None):
        raise InvalidRequest(
            f"only built-in voices can be mixed, {quoted(recorded.name)} is a recording", param="voice"
        )
    shares = [Share(id=voice.id, weight=part[1] / total) for voice, part in zip(voices, parts, strict=True)]
    main = voices[shares.index(max(shares, key=lambda share: share.weight))]
    label = "+".join(f"{voice.id}({part[1]:g})" for voice, part in zip(voices, parts, strict=True))
    return Voice(id=label, name=label, language=main.language, model=main.model, mix=tuple(shares))


def _part(text: str) -> tuple[str, float]:
    name, weight = text.strip(), "1"
    head, bracket, inside = name.rpartition("(")
    if bracket and inside.endswith(")"):
        name, weight = head.rstrip(), inside[:-1].strip()
    if not name or (bracket and not inside.endswith(")")):
        raise InvalidRequest("write a mix of voices as name(2)+other(1)", param="voice")
    if not _WEIGHT.fullmatch(weight) or float(weight) > MAX_WEIGHT:
        raise InvalidRequest(
            f"the weight of {quoted(name)} must be a number from 0 to {MAX_WEIGHT}, like 2 or 0.5, "
            f"with at most 6 decimals; got {quoted(weight)}",
            param="voice",
        )
    return name, float(weight)
