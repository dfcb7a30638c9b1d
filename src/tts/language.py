"""Which language a text is in: told by its script, else by py3langid among the languages that come into question.

For worker processes only: py3langid is imported when first needed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

SAMPLE_CHARS = 2000
MIN_LETTERS = 16
"""Latin text with fewer letters is too short to tell its language."""
MIN_PROBABILITY = 0.9


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its letters, the languages written in it (the commonest first), and how many letters one counts for."""

    name: str
    letters: re.Pattern[str]
    languages: tuple[str, ...]
    weight: int = 1


def _script(name: str, ranges: str, languages: str, weight: int = 1) -> Script:
    return Script(name, re.compile(f"[{ranges}]"), tuple(languages.split()), weight)


LATIN = _script("Latin", "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff", "")
KANA = _script("kana", "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f", "ja", 3)
HAN = _script("Han", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff", "zh ja yue", 3)
SCRIPTS = (
    LATIN,
    KANA,
    HAN,
    _script("Hangul", "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3", "ko", 3),
    _script("Cyrillic", "\u0400-\u052f", "ru uk bg sr mk be kk mn tg tt ba"),
    _script("Greek", "\u0370-\u03ff\u1f00-\u1fff", "el"),
    _script("Arabic", "\u0621-\u064a\u066e-\u06d3\u0750-\u077f", "ar fa ur ps sd"),
    _script("Hebrew", "\u05d0-\u05ea", "he yi"),
    _script("Devanagari", "\u0904-\u0939\u0958-\u0961", "hi mr ne sa"),
    _script("Bengali", "\u0985-\u09b9", "bn as"),
    _script("Gurmukhi", "\u0a05-\u0a39", "pa"),
    _script("Gujarati", "\u0a85-\u0ab9", "gu"),
    _script("Tamil", "\u0b85-\u0bb9", "ta"),
    _script("Telugu", "\u0c05-\u0c39", "te"),
    _script("Kannada", "\u0c85-\u0cb9", "kn"),
    _script("Malayalam", "\u0d05-\u0d39", "ml"),
    _script("Sinhala", "\u0d85-\u0dc6", "si"),
    _script("Thai", "\u0e01-\u0e30\u0e40-\u0e45", "th"),
    _script("Lao", "\u0e81-\u0eb0\u0ec0-\u0ec4", "lo"),
    _script("Tibetan", "\u0f40-\u0f6c", "bo"),
    _script("Myanmar", "\u1000-\u102a", "my"),
    _script("Georgian", "\u10a0-\u10ff", "ka"),
    _script("Armenian", "\u0531-\u0587", "hy"),
    _script("Khmer", "\u1780-\u17b3", "km"),
    _script("Ethiopic", "\u1200-\u135a", "am"),
)
_NOT_LATIN = frozenset(language for script in SCRIPTS for language in script.languages) - {"sr"}
_KANA_SHARE = 0.05


def script_of(text: str) -> Script | None:
    """Return the script most of the text is written in, None when it has no letters (digits, punctuation, emoji).

    Han with a little kana in between is Japanese and counts as kana.
    """
    sample = text[:SAMPLE_CHARS]
    counts = {script.name: script.weight * len(script.letters.findall(sample)) for script in SCRIPTS}
    if counts["kana"] > _KANA_SHARE * counts["Han"]:
        counts["kana"] += counts["Han"]
        counts["Han"] = 0
    found = max(SCRIPTS, key=lambda script: counts[script.name])
    return found if counts[found.name] else None


def writes(language: str, script: Script) -> bool:
    """Tell whether a language (ISO 639-1) is written in a script."""
    return language not in _NOT_LATIN if script is LATIN else language in script.languages


def detect(text: str, candidates: Collection[str], fallback: str) -> str:
    """Return the language of a text: one of `candidates` (ISO 639-1; empty: any), or `fallback`.

    A script that none of the candidates is written in gives that script's commonest language, although it is not a
    candidate: nobody should read Thai out as English. Latin text too short or too unclear to tell gives `fallback`.
    """
    script = script_of(text)
    if script is None:
        return fallback
    possible = [language for language in candidates or script.languages if writes(language, script)]
    if script is LATIN:
        letters = len(LATIN.letters.findall(text[:SAMPLE_CHARS]))
        return _rank(text, possible, fallback) if letters >= MIN_LETTERS else fallback
    if not possible:
        return script.languages[0]
    first = min(possible, key=script.languages.index)
    return _rank(text, possible, fallback if fallback in possible else first)


def choose(
    text: str, *, requested: str | None, voice: str | None, candidates: Collection[str], automatic: bool
) -> str | None:
    """Return the language to speak a text in, None when nothing tells it: all are ISO 639-1 codes or BCP-47 tags.

    That is the one requested; else, when `automatic`, the detected one; else the voice's. A text too short to tell is
    spoken in the voice's language, or in English when the voice's language has another script (jf_alpha, "Hello").
    """
    if requested:
        return requested
    if not automatic:
        return voice
    script = script_of(text)
    own = primary(voice) if voice else ""
    foreign = not own or (script is not None and not writes(own, script))
    fallback = "en" if foreign and (not candidates or "en" in candidates) else own or next(iter(candidates))
    found = detect(text, candidates, fallback)
    return voice if found == own else found


def primary(tag: str) -> str:
    """Return the language of a BCP-47 tag: "pt" of "pt-BR"."""
    return tag.partition("-")[0].lower()


def warm_up(candidates: Collection[str]) -> None:
    """Load the detector now, so that no request has to wait for it."""
    detect("The quick brown fox jumps over the lazy dog.", candidates, "en")


def _rank(text: str, possible: Collection[str], fallback: str) -> str:
    """Return the most probable of the languages, or `fallback` when there is no choice or no clear one."""
    if len(possible) < 2:  # noqa: PLR2004 - no choice
        return next(iter(possible), fallback)
    identifier = _identifier(tuple(sorted(possible)))
    if identifier is None:
        return fallback
    language, probability = identifier.classify(text[:SAMPLE_CHARS])
    return str(language) if probability >= MIN_PROBABILITY else fallback


@lru_cache(maxsize=4)
def _identifier(languages: tuple[str, ...]) -> Any:
    """Return a py3langid identifier for these languages, None where it does not know two of them."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - not in the API process

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = [language for language in languages if language in identifier.labels]
    if len(known) < 2:  # noqa: PLR2004
        return None
    identifier.set_languages(known)
    return identifier
