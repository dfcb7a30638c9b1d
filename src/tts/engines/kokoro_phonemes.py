"""The phonemes Kokoro reads: espeak-ng's, and for Chinese and Japanese those of misaki, which it was trained with.

espeak-ng tells no tones of Chinese that Kokoro knows, without which "buy" is "sell", and cannot read kanji; misaki and
its dictionaries are extras.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import InvalidRequest

log = logging.getLogger(__name__)

KNOWN_TEXTS = 1024
"""How many texts' phonemes are remembered."""
EXTRAS = {"ja": "kokoro-ja", "cmn": "kokoro-zh"}
_LANGUAGES = {"ja": "Japanese", "cmn": "Chinese"}
_PACKAGES = {
    "ja": ("misaki", "fugashi", "unidic_lite", "jaconv", "mojimoji"),
    "cmn": ("misaki", "pypinyin", "jieba", "cn2an", "ordered_set"),
}
_SWITCHES = re.compile(r"\((?:cmn|en-?us|en-?gb|fr-?fr|pt-?br|en|es|fr|hi|it|ja|pt|zh)\)")
"""How espeak-ng marks a word it reads in another language; the marks themselves must not be spoken."""
IDEOGRAPHS = re.compile(r"[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Ideographs and the three marks among them: the repeated one, the closing one and the zero."""
_LATIN = re.compile(r"([A-Za-z][A-Za-z' -]*)")


def missing(code: str) -> tuple[str, ...]:
    """Return the packages that reading a language well needs, by espeak-ng's name of it, and that are not installed."""
    return tuple(name for name in _PACKAGES.get(code, ()) if find_spec(name) is None)


def check(text: str, code: str) -> None:
    """Raise InvalidRequest, naming the extra, for ideographs where nothing that is installed can read them."""
    if code in EXTRAS and IDEOGRAPHS.search(text) and missing(code):
        # espeak-ng would say "Chinese letter" for each of Japanese, and leave out the tones of Chinese.
        known = "reads Japanese in kana only" if code == "ja" else "cannot read Chinese"
        raise InvalidRequest(f"kokoro {known} here; pip install 'voice-stack[{EXTRAS[code]}]'", param="input")


class Phonemizer:
    """Text to phonemes. `tokenizer` is the library's, which drops what the model has no symbol for."""

    def __init__(self, tokenizer: Any, cache: Path | None) -> None:
        self._tokenizer = tokenizer
        self._cache = cache
        self._readers: dict[str, Callable[[str], str] | None] = {}
        self.phonemes = lru_cache(maxsize=KNOWN_TEXTS)(self._phonemes)

    def _phonemes(self, text: str, code: str) -> str:
        """Return the phonemes of a text in a language, by espeak-ng's name of it."""
        text = " ".join(text.split())
        if read := self._reader(code):
            try:
                return " ".join(self._tokenizer.known(read(text)).split())
            except (ValueError, LookupError, AssertionError) as error:
                log.warning("misaki cannot read a text (%s); espeak-ng reads it", type(error).__name__)
        return self._espeak(text, code)

    def _espeak(self, text: str, code: str) -> str:
        found: str = self._tokenizer.phonemize(text, code)
        return " ".join(_SWITCHES.sub("", found).split())

    def _reader(self, code: str) -> Callable[[str], str] | None:
        """Return what reads a language better than espeak-ng, None where nothing does or it is not installed."""
        if code not in EXTRAS:
            return None
        if code not in self._readers:
            self._readers[code] = None
            if missing(code):
                log.warning(
                    "espeak-ng reads %s; with voice-stack[%s] it is read as Kokoro was trained",
                    _LANGUAGES[code],
                    EXTRAS[code],
                )
            else:
                self._readers[code] = self._japanese() if code == "ja" else self._chinese()
        return self._readers[code]

    def _japanese(self) -> Callable[[str], str]:
        from misaki.cutlet import Cutlet

        cutlet = Cutlet()
        return lambda text: str(cutlet(text)[0])

    def _chinese(self) -> Callable[[str], str]:
        import jieba
        from misaki.zh import ZHG2P

        jieba.setLogLevel(logging.ERROR)
        if self._cache is not None:
            # It keeps its dictionary in the temporary folder otherwise, where everybody can write.
            self._cache.mkdir(parents=True, exist_ok=True)
            jieba.dt.tmp_dir = str(self._cache)
        chinese = ZHG2P()

        def read(text: str) -> str:
            # Words in Latin letters would be passed through as if they were phonemes.
            parts = (
                self._espeak(part, "en-us") if number % 2 else str(chinese(part)[0])
                for number, part in enumerate(_LATIN.split(text))
            )
            return " ".join(filter(None, parts))

        return read
