"""The log-probability of each token of a text, out of its alignment with the audio."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from asr.transcript import TokenLogprob

_LEAST = 1e-30  # the logarithm of 0 is no number


def token_logprobs(vocabulary: Any, tokens: Sequence[int], probabilities: Sequence[float]) -> tuple[TokenLogprob, ...]:
    """Return text tokens with their log-probabilities; `vocabulary` is the tokenizer of the `tokenizers` library."""
    return tuple(
        _logprob(vocabulary.id_to_token(token), value) for token, value in zip(tokens, probabilities, strict=True)
    )


def piece_bytes(piece: str) -> bytes:
    """Return the bytes that a piece of Whisper's vocabulary stands for."""
    return bytes(map(_byte_of().__getitem__, piece))


def _logprob(piece: str, probability: float) -> TokenLogprob:
    content = piece_bytes(piece)
    return TokenLogprob(content.decode(errors="replace"), math.log(max(probability, _LEAST)), tuple(content))


@cache
def _byte_of() -> Mapping[str, int]:
    """Return GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for characters from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + index): byte for index, byte in enumerate(others)}
