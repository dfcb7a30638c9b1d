"""Which language a Whisper model is to write, out of what a request says and what the model knows."""

from __future__ import annotations

from asr.transcript import LanguageGuess, TranscribeOptions
from core.errors import UnsupportedParameter
from utils import languages

ENGLISH_ONLY = ("en",)


def wanted_languages(
    options: TranscribeOptions, known: tuple[str, ...], name: str
) -> tuple[str | None, tuple[str, ...]]:
    """Return the language to use, None to detect it, and the candidates for that (none: all).

    `known` are the languages of the model called `name`. Raises UnsupportedParameter (`language`, `languages`).
    """
    if options.language:
        return _nearest(options.language, "language", known, name), ()
    candidates = tuple(_nearest(code, "languages", known, name) for code in options.languages)
    if len(candidates) == 1:
        return candidates[0], ()
    return ("en" if known == ENGLISH_ONLY else None), candidates


def likeliest(probabilities: dict[str, float], candidates: tuple[str, ...]) -> LanguageGuess:
    """Return the most probable language and its own probability; among candidates the probabilities add up to one."""
    if candidates:
        probabilities = {code: probabilities.get(code, 0.0) for code in candidates}
    language = max(probabilities, key=probabilities.__getitem__)
    return LanguageGuess(language, min(probabilities[language] / (sum(probabilities.values()) or 1.0), 1.0))


def _nearest(code: str, param: str, known: tuple[str, ...], name: str) -> str:
    found = languages.nearest(code, known)
    if found is None:
        listed = "English only" if known == ENGLISH_ONLY else f"{len(known)} languages, not {code!r}"
        raise UnsupportedParameter(f"{name} knows {listed}", param=param)
    return found
