"""What Whisper is shown in front of a window: prompt, hotwords and the text before, as much as there is room for."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from asr.transcript import TranscribeOptions

log = logging.getLogger(__name__)
# Half of the decoder's 448 positions are for what comes before the text; one of them opens it.
CONTEXT_TOKENS = 223
_KEPT = 64  # prompts, and lists of hotwords: those of the requests in work
_SPECIAL_TOKEN = re.compile(r"<\|[^|]*\|>")


class Prompts:
    """Makes the contexts of windows; those of one request have their words tokenised once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._hotwords = lru_cache(_KEPT)(self._encoded_hotwords)
        self._prompt = lru_cache(_KEPT)(self._encoded_prompt)

    def before(self, prompt: str | None) -> tuple[int, ...]:
        """Return the tokens of a prompt as text that comes before, of a long one the end."""
        return self._prompt(prompt) if prompt else ()

    def context(self, request: TranscribeOptions, previous: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the tokens before the start of the transcript, in at most one more than CONTEXT_TOKENS; often none.

        Hotwords come first and have their room, then the prompt; of both the prompt and the `previous` tokens the end
        is kept.
        """
        words = self._hotwords(request.hotwords) if request.hotwords else ()
        prompt = _last(self.before(request.prompt), CONTEXT_TOKENS - len(words))
        previous = _last(previous, CONTEXT_TOKENS - len(words) - len(prompt))
        shown = (*words, *prompt, *previous)
        return (self._tokenizer.sot_prev, *shown) if shown else ()

    def _encoded_prompt(self, prompt: str) -> tuple[int, ...]:
        text = plain(prompt)
        return _last(tuple(self._tokenizer.encode(f" {text}")), CONTEXT_TOKENS) if text else ()

    def _encoded_hotwords(self, words: tuple[str, ...]) -> tuple[int, ...]:
        """Return the tokens of as many of the first hotwords as the decoder has room for."""
        joined = ""
        tokens: tuple[int, ...] = ()
        for count, word in enumerate(filter(None, map(plain, words))):
            joined = f"{joined}, {word}" if joined else word
            longer = tuple(self._tokenizer.encode(f" {joined}"))
            if len(longer) > CONTEXT_TOKENS:
                log.info("only the first %d of %d hotwords fit the model's context", count, len(words))
                break
            tokens = longer
        return tokens


def plain(text: str) -> str:
    """Return a text without anything the tokenizer would read as a command, such as <|endoftext|>."""
    while (stripped := _SPECIAL_TOKEN.sub("", text)) != text:
        text = stripped
    return text.strip()


def _last(tokens: tuple[int, ...], room: int) -> tuple[int, ...]:
    return tokens[-room:] if room > 0 else ()
