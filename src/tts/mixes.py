"""Names of voice mixes: `a(2)+b(1)` is two parts of voice a and one of voice b."""

from __future__ import annotations

import re
from collections.abc import Callable

from core.errors import InvalidRequest
from tts.voice import Share, Voice

MAX_VOICES = 8
_WEIGHT = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


def is_mix(name: str) -> bool:
    """Tell whether a name that is no voice's may be that of a mix."""
    return "+" in name or name.endswith(")")


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
    if any(voice.type != "builtin" for voice in voices):
        raise InvalidRequest("only the model's own voices can be mixed", param="voice")
    shares = [Share(id=voice.id, weight=part[1] / total) for voice, part in zip(voices, parts, strict=True)]
    main = voices[shares.index(max(shares, key=lambda share: share.weight))]
    label = "+".join(f"{voice.id}({part[1]:g})" for voice, part in zip(voices, parts, strict=True))
    return Voice(id=label, name=label, language=main.language, model=main.model, mix=tuple(shares))


def _part(text: str) -> tuple[str, float]:
    name, weight = text.strip(), "1"
    head, bracket, inside = name.rpartition("(")
    if bracket and inside.endswith(")") and _WEIGHT.fullmatch(given := inside[:-1].strip()):
        name, weight = head.rstrip(), given
    if not name:
        raise InvalidRequest("write a mix of voices as name(2)+other(1)", param="voice")
    return name, float(weight)
