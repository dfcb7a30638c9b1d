"""What Whisper is shown in front of a window: prompt, hotwords and the text before, as much as there is room for."""

from __future__ import annotations

import logging
import re
from typing import Any

from asr.transcript import TranscribeOptions

log = logging.getLogger(__name__)
# Half of the decoder's 448 positions are for what comes before the text; one of them opens it.
CONTEXT_TOKENS = 223
_SPECIAL_TOKEN = re.compile(r"<\|[^|]*\|>")


def context(tokenizer: Any, request: TranscribeOptions, previous: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return the tokens before the start of the transcript, in at most one more than CONTEXT_TOKENS; often none.

    Hotwords come first and have their room; of the prompt and the `previous` tokens the end is kept.
    """
    words = _hotwords(tokenizer, request.hotwords)
    room = CONTEXT_TOKENS - len(words)
    prompt = plain(request.prompt or "")
    before = [*(tokenizer.encode(f" {prompt}") if prompt else ()), *previous]
    before = before[-room:] if room else []
    return (tokenizer.sot_prev, *words, *before) if words or before else ()


def plain(text: str) -> str:
    """Return a text without anything the tokenizer would read as a command, such as <|endoftext|>."""
    while (stripped := _SPECIAL_TOKEN.sub("", text)) != text:
        text = stripped
    return text.strip()


def _hotwords(tokenizer: Any, words: tuple[str, ...]) -> list[int]:
    """Return the tokens of as many of the first hotwords as the decoder has room for."""
    joined = ""
    tokens: list[int] = []
    for count, word in enumerate(filter(None, map(plain, words))):
        joined = f"{joined}, {word}" if joined else word
        longer = tokenizer.encode(f" {joined}")
        if len(longer) > CONTEXT_TOKENS:
            log.info("only the first %d of %d hotwords fit the model's context", count, len(words))
            break
        tokens = longer
    return tokens
