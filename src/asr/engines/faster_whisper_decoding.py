"""How faster-whisper is told to decode: the engine's options and one request's options in the library's own terms."""

from __future__ import annotations

import logging
import re
from typing import Any

from pydantic import Field

from asr.transcript import TranscribeOptions
from core.engines import EngineOptions

log = logging.getLogger(__name__)
# Half of the decoder's 448 positions are for what comes before the text; one of them opens it.
CONTEXT_TOKENS = 223
_SPECIAL_TOKEN = re.compile(r"<\|[^|]*\|>")


class FasterWhisperOptions(EngineOptions):
    """Options of the faster-whisper engine; the defaults are Whisper's, but a window does not see the text before."""

    beam_size: int = Field(default=5, ge=1, le=32, description="Hypotheses kept at temperature 0.")
    best_of: int = Field(default=5, ge=1, le=32, description="Samples drawn at a temperature above 0.")
    patience: float = Field(default=1.0, gt=0, description="How many finished beams are waited for, in beam sizes.")
    length_penalty: float = Field(default=1.0, description="Exponent of the length a beam's score is divided by.")
    repetition_penalty: float = Field(
        default=1.0, gt=0, description="Above 1 makes tokens already written less likely."
    )
    no_repeat_ngram_size: int = Field(default=0, ge=0, description="Length of token sequences not to repeat; 0: any.")
    compression_ratio_threshold: float | None = Field(
        default=2.4, description="A text that compresses better than this is a loop: the next temperature is tried."
    )
    log_prob_threshold: float | None = Field(
        default=-1.0, description="Below this mean log-probability the next temperature is tried."
    )
    no_speech_threshold: float | None = Field(
        default=0.6, ge=0, le=1, description="Above this no-speech probability a text needs to be sure of itself."
    )
    no_speech_log_prob: float = Field(
        default=-0.6, description="How sure (mean log-probability) such a text has to be; Whisper itself asks for -1."
    )
    condition_on_previous_text: bool = Field(
        default=False, description="Whether a window sees the text before it: more consistent, but loops spread."
    )
    prompt_reset_on_temperature: float = Field(
        default=0.5, description="Text from above this temperature is not shown to the next window."
    )
    hallucination_silence_threshold: float | None = Field(
        default=None, gt=0, description="With word timestamps: skip odd text around silences longer than these seconds."
    )
    max_initial_timestamp: float = Field(
        default=1.0, ge=0, le=30, description="Latest start of the first text in a window, in seconds."
    )


def transcription_options(
    library: Any,
    tokenizer: Any,
    own: FasterWhisperOptions,
    request: TranscribeOptions,
    *,
    first_window: float | None = None,
) -> Any:
    """Return the library's TranscriptionOptions; the first window ends after `first_window` seconds, if given."""
    hotwords = _hotwords(tokenizer, request.hotwords)
    room = CONTEXT_TOKENS - (len(tokenizer.encode(f" {hotwords}")) if hotwords else 0)
    return library.TranscriptionOptions(
        **own.model_dump(exclude={"beam_size", "best_of", "no_speech_log_prob"}),
        beam_size=request.beam_size or own.beam_size,
        best_of=request.best_of or own.best_of,
        temperatures=list(request.temperature),
        initial_prompt=_last_tokens(tokenizer, request.prompt, room),
        hotwords=hotwords,
        word_timestamps=request.word_timestamps or request.logprobs,  # both come out of the alignment
        prefix=None,
        suppress_blank=True,
        suppress_tokens=library.get_suppressed_tokens(tokenizer, [-1]),
        without_timestamps=False,
        prepend_punctuations="\"'“¿([{-",
        append_punctuations="\"'.。,，!！?？:：”)]}、",  # noqa: RUF001 - faster-whisper's default
        multilingual=False,
        max_new_tokens=None,
        clip_timestamps=f"0,{first_window},{first_window}" if first_window else "0",
    )


def plain(text: str) -> str:
    """Return a text without anything the tokenizer would read as a command, such as <|endoftext|>."""
    while (stripped := _SPECIAL_TOKEN.sub("", text)) != text:
        text = stripped
    return text.strip()


def _last_tokens(tokenizer: Any, prompt: str | None, room: int) -> list[int] | None:
    text = plain(prompt or "")
    if not text or room < 1:
        return None
    tokens: list[int] = tokenizer.encode(f" {text}")[-room:]
    return tokens


def _hotwords(tokenizer: Any, words: tuple[str, ...]) -> str | None:
    """Join as many of the first hotwords as the decoder has room for."""
    joined = ""
    for count, word in enumerate(filter(None, map(plain, words))):
        longer = f"{joined}, {word}" if joined else word
        if len(tokenizer.encode(f" {longer}")) > CONTEXT_TOKENS:
            log.info("only the first %d of %d hotwords fit the model's context", count, len(words))
            break
        joined = longer
    return joined or None
