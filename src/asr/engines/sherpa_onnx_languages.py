"""Languages of a sherpa-onnx model: those it knows, and the one that a request wants."""

from __future__ import annotations

import re
from collections.abc import Sequence

from asr.transcript import TranscribeOptions
from core.errors import UnsupportedParameter
from core.sherpa import SherpaModel
from utils import languages

DETECTING = frozenset({"sense_voice"})
"""Families besides Whisper that detect the language; they cannot be told it."""
_TOLD = frozenset({"whisper", "nemo_canary", "cohere_transcribe"})
"""Families that write the language they are told."""
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
    """Return the language that is written for sure, None where the model decides or assumes one.

    Raises UnsupportedParameter for languages that a model does not know, or cannot be told.
    """
    param = "language" if options.language else "languages"
    given = (options.language,) if options.language else options.languages
    found = [languages.nearest(code, known) if known else code for code in given]
    if None in found:
        raise UnsupportedParameter(f"{name} does not know the language {given[found.index(None)]!r}", param=param)
    if len(found) > 1:
        raise UnsupportedParameter(f"{name} cannot choose between languages", param=param)
    if len(known) == 1:
        return known[0]
    if found and family not in _TOLD:
        reason = "; where it writes one only, the engine's option LANGUAGES says which" if not known else ""
        raise UnsupportedParameter(f"{name} cannot be told the language through sherpa-onnx{reason}", param=param)
    return found[0] if found else None
