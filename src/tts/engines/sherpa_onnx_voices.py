"""The voices of a sherpa-onnx model, and the languages they speak, as its files tell them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from core.sherpa import SherpaModel
from tts.voice import Voice
from utils import languages

CLONES = frozenset({"zipvoice", "pocket"})
"""Families without voices of their own: they speak as a recording does."""
_SUPERTONIC = ("en", "ko", "es", "pt", "fr")
_OTHERS = {"zipvoice": ("zh", "en"), "pocket": ("en",), "kitten": ("en",), "supertonic": _SUPERTONIC}
_KOKORO = {
    "a": "en-US",
    "b": "en-GB",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-BR",
    "z": "zh",
}
_GENDERS: dict[str, Literal["female", "male"]] = {"f": "female", "m": "male"}
_STYLE_HEADER = struct.Struct("<6q")


def voices_of(model: SherpaModel) -> list[Voice]:
    """Return the voices in the order of the library's numbers; none for a model that only clones."""
    if model.family in CLONES:
        return []
    names = [name.strip() for name in model.facts.get("speaker_names", "").split(",") if name.strip()]
    count = max(_speakers(model), 1)
    if len(names) != count:
        name = _main_file(model).stem.removesuffix(".int8").removesuffix(".fp16")
        names = [name] if count == 1 else [f"{name}-{number}" for number in range(count)]
    if model.family == "kokoro":
        return [_kokoro_voice(name) for name in names]
    language = next(iter(languages_of(model)), None) if model.family == "supertonic" else _language(model)
    return [Voice(id=name, name=name, language=language) for name in names]


def languages_of(model: SherpaModel) -> Sequence[str]:
    """Return the codes of the languages that the model speaks; none where it does not say."""
    if model.family == "kokoro":
        spoken = [voice.language.partition("-")[0] for voice in voices_of(model) if voice.language]
        return tuple(dict.fromkeys(spoken))
    if model.family in _OTHERS:
        return _OTHERS[model.family]
    own = _language(model)
    return (own.partition("-")[0],) if own else ()


def _kokoro_voice(name: str) -> Voice:
    return Voice(id=name, name=name, language=_KOKORO.get(name[:1], "en-US"), gender=_GENDERS.get(name[1:2]))


def _language(model: SherpaModel) -> str | None:
    """Return the BCP-47 tag of a voice: from espeak-ng's name of it, else from the English name of the language."""
    if model.family == "kitten":
        return "en-US"
    language, _, region = model.facts.get("voice", "").replace("_", "-").partition("-")
    for named in (language, model.facts.get("language", ""), model.facts.get("language", "").split("+")[0].strip()):
        try:
            code = languages.parse(named)
        except ValueError:
            continue
        if code:
            return f"{code}-{region.upper()}" if named == language and len(region) == 2 else code  # noqa: PLR2004
    return None


def _speakers(model: SherpaModel) -> int:
    if model.family != "supertonic":
        return model.fact("n_speakers", 1)
    with model.files["voice_style"].open("rb") as file:
        header = file.read(_STYLE_HEADER.size)
    # The shapes of two tables; the first number of each is that of the voices.
    return int(_STYLE_HEADER.unpack(header)[0]) if len(header) == _STYLE_HEADER.size else 1


def _main_file(model: SherpaModel) -> Path:
    return model.files.get("model") or next(iter(model.files.values()))
