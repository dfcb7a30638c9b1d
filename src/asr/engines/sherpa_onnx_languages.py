"""Languages of a sherpa-onnx model: those it knows, and the one that a request wants."""

from __future__ import annotations

import re
from collections.abc import Sequence

from asr.transcript import TranscribeOptions
from core.errors import UnsupportedParameter
from core.sherpa import SherpaModel
from utils import languages

UNTOLD = frozenset({"sense_voice"})
"""Families that detect the language and cannot be told it."""
_ENGLISH = frozenset({"nemo_canary", "cohere_transcribe"})
"""Families that write English where no language is said."""
_KNOWN = {
    "sense_voice": ("zh", "en", "ja", "ko", "yue"),
    "cohere_transcribe": ("ar", "de", "el", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "vi", "zh"),
}
_CANARY_LANGUAGE = re.compile(r"<\|([a-z]{2})\|> \d+")


def known_languages(model: SherpaModel, named: str) -> tuple[str, ...]:
    """Return the codes of the languages of a model; `named` are those that the user says, commas between."""
    if told := tuple(code.strip() for code in named.split(",") if code.strip()):
        return told
    if model.family == "whisper":
        codes = model.facts.get("all_language_codes", "") if model.fact("is_multilingual") > 0 else ""
        return tuple(codes.split(",")) if codes else ("en",)
    if model.family == "nemo_canary":
        return tuple(dict.fromkeys(_CANARY_LANGUAGE.findall(model.files["tokens"].read_text(encoding="utf-8"))))
    return _KNOWN.get(model.family, ())


def wanted_language(options: TranscribeOptions, known: Sequence[str], *, family: str, name: str) -> str | None:
    """Return the language to write, None where the model decides. Raises UnsupportedParameter."""
    param = "language" if options.language else "languages"
    given = (options.language,) if options.language else options.languages
    found = [languages.nearest(code, known) if known else code for code in given]
    if None in found:
        raise UnsupportedParameter(f"{name} does not know the language {given[found.index(None)]!r}", param=param)
    if len(found) > 1:
        raise UnsupportedParameter(f"{name} cannot choose between languages", param=param)
    if found and family in UNTOLD:
        raise UnsupportedParameter(f"{name} detects the language and cannot be told it", param=param)
    if found:
        return found[0]
    if len(known) == 1:
        return known[0]
    return "en" if family in _ENGLISH else None
