"""The probability of each token of a text, which faster-whisper computes when it aligns words and then throws away."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from asr.transcript import TokenLogprob

_LEAST = 1e-30  # the logarithm of 0 is no number


class Scores:
    """Listens to the alignments of one transcription and gives each of its segments the scores of its tokens.

    A window is aligned as a whole and then comes out segment by segment, some of which are dropped on the way.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._probabilities: Sequence[float] = ()
        self._at = 0

    def listening(self, model: Any) -> Any:
        """Return a copy of a WhisperModel, sharing its weights, whose alignments are heard here."""
        heard = copy.copy(model)
        heard.model = _Heard(model.model, self)
        return heard

    def hear(self, tokens: list[int], probabilities: Sequence[float]) -> None:
        """Take what the alignment of a window has found."""
        self._tokens, self._probabilities, self._at = tokens, probabilities, 0

    def of(self, tokens: Sequence[int]) -> tuple[TokenLogprob, ...]:
        """Return the scores of the next segment, given its tokens; none if the window was not aligned."""
        wanted = [token for token in tokens if token < self._tokenizer.eot]
        for first in range(self._at, len(self._probabilities) - len(wanted) + 1):
            if self._tokens[first : first + len(wanted)] == wanted:
                self._at = first + len(wanted)
                return tuple(map(self._score, wanted, self._probabilities[first : self._at]))
        return ()

    def _score(self, token: int, probability: float) -> TokenLogprob:
        piece = self._tokenizer.tokenizer.id_to_token(token)
        content = bytes(map(_byte_of().__getitem__, piece))
        return TokenLogprob(content.decode(errors="replace"), math.log(max(probability, _LEAST)), tuple(content))


class _Heard:
    """A CTranslate2 model, word for word, except that `align` is listened to."""

    def __init__(self, model: Any, scores: Scores) -> None:
        self._model = model
        self._scores = scores

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def align(self, encoded: Any, start: Any, text_tokens: list[list[int]], *args: Any, **options: Any) -> Any:
        """Align, and let the scores hear what came of the only text."""
        found = self._model.align(encoded, start, text_tokens, *args, **options)
        self._scores.hear(text_tokens[0], found[0].text_token_probs)
        return found


@cache
def _byte_of() -> Mapping[str, int]:
    """Return GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for characters from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + index): byte for index, byte in enumerate(others)}
