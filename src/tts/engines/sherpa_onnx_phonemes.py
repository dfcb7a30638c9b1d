"""Phonemes for voices that sherpa-onnx does not read texts for: from version 2 on it has no espeak-ng of its own.

It is the espeak-ng (GPL-3) that Kokoro's engine uses too.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from pathlib import Path
from typing import Any

from core.errors import UnsupportedParameter
from core.sherpa import joined
from core.sherpa_checks import read_symbols

LONGEST = 400
"""Phonemes that are spoken at once; Kokoro's styles are for 509 at most."""
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026])\s+")
_ESPEAK = {"en": "en-us", "fr": "fr-fr", "pt": "pt-br", "zh": "cmn", "no": "nb"}


def lexicons(folder: Path, family: str) -> str:
    """Return the lexicons of a folder as the library takes them, "" where espeak-ng reads all.

    What they lack is left unsaid: those of Kokoro are for Chinese, and American words in it, which nothing else reads.
    """
    if family == "kitten":
        return ""
    if family != "kokoro":
        return joined(folder, "lexicon*.txt")
    chinese = joined(folder, "lexicon-zh*.txt")
    return ",".join(filter(None, (chinese, joined(folder, "lexicon-us*.txt")))) if chinese else ""


class Phonemes:
    """espeak-ng's phonemes that a model has symbols for; one thread at a time."""

    def __init__(self, tokens: Path) -> None:
        """Load espeak-ng and read a tokens.txt. Raises ModelBroken for one that is none."""
        import espeakng_loader
        import phonemizer
        from phonemizer.backend.espeak.wrapper import EspeakWrapper

        # It warns whenever espeak says two words as one, which is not an error and would be in every log.
        logging.getLogger("phonemizer").setLevel(logging.ERROR)
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        self._library: Any = phonemizer
        self._symbols = read_symbols(tokens)

    def sentences(self, text: str, code: str) -> list[list[int]]:
        """Return the code points of the phonemes, sentence by sentence, none of them longer than LONGEST.

        `code` is espeak-ng's name of the language, or ours. Raises UnsupportedParameter for one that it does not read.
        """
        try:
            found = self._library.phonemize(
                " ".join(text.split()),
                _ESPEAK.get(code, code),
                preserve_punctuation=True,
                with_stress=True,
                language_switch="remove-flags",
            )
        except RuntimeError as error:
            raise UnsupportedParameter(f"espeak-ng does not read {code!r}", param="language") from error
        parts = [part for sentence in _SENTENCE_END.split(found) for part in _short(self._known(sentence))]
        return [[ord(each) for each in part] for part in parts if any(map(str.isalpha, part))]

    def _known(self, phonemes: str) -> str:
        """Return the phonemes that the model has; one with a mark may have a symbol for both, or for each."""
        composed = (
            each if each in self._symbols else unicodedata.normalize("NFD", each)
            for each in unicodedata.normalize("NFC", phonemes)
        )
        return "".join(each for each in "".join(composed) if each in self._symbols).strip()


def _short(phonemes: str) -> list[str]:
    """Return phonemes in parts of at most LONGEST, cut between words where it can be."""
    parts = []
    while len(phonemes) > LONGEST:
        cut = phonemes.rfind(" ", 1, LONGEST)
        cut = cut if cut > 0 else LONGEST
        parts.append(phonemes[:cut])
        phonemes = phonemes[cut:].lstrip()
    return [*parts, phonemes] if phonemes else parts
