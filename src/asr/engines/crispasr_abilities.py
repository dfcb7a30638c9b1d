"""What CrispASR's architectures heed of what a request tells them; the rest the library takes and drops in silence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from asr.transcript import TEMPERATURE_LADDER, TranscribeOptions
from core.errors import ConfigurationError, InvalidRequest, UnsupportedParameter, UnsupportedTask
from utils import languages

_ASSUMES_ENGLISH = frozenset({"canary", "cohere", "voxtral"})
"""Architectures that are told a language in any case, English where nobody says which."""
_HEEDS_LANGUAGE = _ASSUMES_ENGLISH | {"whisper", "qwen3", "mega-asr"}
_TRANSLATES = frozenset({"canary", "gemma4-e2b"})
"""Architectures besides Whisper that a session has translate; the verb "translate" is of more, by its command line."""
_SAMPLES = frozenset({"canary", "cohere", "moonshine", "nemotron", "parakeet"})
_FAVOURS_WORDS = frozenset({"parakeet", "qwen3", "vibevoice"})
# Distilled Whispers were trained without translation and answer in the language that was spoken.
_TRANSCRIBES_ONLY = re.compile(r"turbo|distil", re.IGNORECASE)
_WHISPER_DECODERS = 8
"""Hypotheses that whisper.cpp follows at once; a window fails for which more are asked."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """A loaded model: its name, architecture, verbs and languages (empty: not known), and the name of its file."""

    name: str
    backend: str = ""
    verbs: frozenset[str] = frozenset()
    languages: tuple[str, ...] = ()
    file: str = ""

    @property
    def detects(self) -> bool:
        """Whether the language is heard and told."""
        return self.backend == "whisper" and len(self.languages) > 1

    @property
    def translates(self) -> bool:
        """Whether it can be told to write English."""
        if self.backend == "whisper":
            return self.detects and not _TRANSCRIBES_ONLY.search(f"{self.name} {self.file}")
        return self.backend in _TRANSLATES

    @property
    def samples(self) -> bool:
        """Whether it decodes at a temperature it is told."""
        return self.backend in _SAMPLES

    @property
    def favours_words(self) -> bool:
        """Whether it can be told hotwords."""
        return self.backend in _FAVOURS_WORDS

    @property
    def own_language(self) -> str | None:
        """What the library is told where nobody says or hears which language it is; None: nothing."""
        if len(self.languages) == 1:
            return self.languages[0]
        return "en" if self.backend in {"whisper", *_ASSUMES_ENGLISH} else None

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedTask, UnsupportedParameter for what it cannot be told, InvalidRequest."""
        translate = options.task == "translate"
        if translate and not self.translates:
            raise UnsupportedTask(f"{self.name} cannot translate", param="task")
        if self.wanted(options) is None and translate and self.backend in _ASSUMES_ENGLISH:
            raise InvalidRequest(f"{self.name} has to be told the language to translate from", param="language")
        ladder = options.temperature in {TEMPERATURE_LADDER, (0.0,)}
        refused = {
            "prompt": options.prompt,
            "hotwords": options.hotwords and not self.favours_words,
            "temperature": not ladder and not (self.samples and len(options.temperature) == 1),
            "beam_size": options.beam_size and "beam-search" not in self.verbs,
            "best_of": options.best_of and self.backend != "whisper" and not self.samples,
        }
        for name, given in refused.items():
            if given:
                raise UnsupportedParameter(f"{self.name} cannot be told {name} through crispasr", param=name)
        for name, count in (("beam_size", options.beam_size), ("best_of", options.best_of)):
            if self._is_too_many(count or 1):
                raise UnsupportedParameter(f"{name} is at most {_WHISPER_DECODERS} for {self.name}", param=name)

    def check_option(self, beam_size: int) -> None:
        """Raise ConfigurationError for an option BEAM_SIZE that would be without effect, or would fail every window."""
        if beam_size > 1 and "beam-search" not in self.verbs:
            raise ConfigurationError(f"option 'beam_size': {self.name} ({self.backend}) does not search with beams")
        if self._is_too_many(beam_size):
            raise ConfigurationError(f"option 'beam_size': at most {_WHISPER_DECODERS} for {self.name}")

    def wanted(self, options: TranscribeOptions) -> str | None:
        """Return the language that is written for sure, as the model calls it; None where nobody says which.

        Raises UnsupportedParameter for languages that it does not know, or cannot be told.
        """
        param = "language" if options.language else "languages"
        given = (options.language,) if options.language else options.languages
        found = [languages.nearest(code, self.languages) if self.languages else code for code in given]
        if None in found:
            unknown = given[found.index(None)]
            raise UnsupportedParameter(f"{self.name} does not know the language {unknown!r}", param=param)
        if len(found) > 1:
            raise UnsupportedParameter(f"{self.name} cannot choose between languages", param=param)
        if len(self.languages) == 1:
            return self.languages[0]
        if found and self.backend not in _HEEDS_LANGUAGE:
            reason = "; where it writes one only, the engine's option LANGUAGE says which" if not self.languages else ""
            raise UnsupportedParameter(f"{self.name} cannot be told the language through crispasr{reason}", param=param)
        return found[0] if found else None

    def _is_too_many(self, count: int) -> bool:
        return self.backend == "whisper" and count > _WHISPER_DECODERS
