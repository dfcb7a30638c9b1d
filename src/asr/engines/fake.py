"""An engine without a model: text from a hash of the samples, and ways to fail on request. For tests and trying out.

It fails as its options say, or as one request says in its prompt: "fake:crash", "fake:hang" and so on.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from asr.engine import AsrEngine, require_finite
from asr.transcript import LanguageGuess, Segment, TokenLogprob, TranscribeOptions, Transcription, spread_words
from core.engines import EngineOptions
from core.errors import ConfigurationError, InsufficientMemory
from utils.audio.pcm import Audio, Samples

Failure = Literal["crash", "segfault", "hang", "out_of_memory", "leak", "garbage", "error"]
MARKER = "fake:"
CRASH_STATUS = 70
_LOGPROB = -0.2
_SILENCE_PEAK = 0.002
_WORDS = (
    "amber", "bridge", "candle", "distant", "eleven", "forest", "garden", "harbour", "island", "journey", "kettle",
    "lantern", "meadow", "narrow", "orchard", "planet", "quiet", "river", "silver", "timber", "umbrella", "valley",
    "winter", "yellow",
)  # fmt: skip
_WORDS_PER_SECOND = 2


class FakeOptions(EngineOptions):
    """Options of the fake engine."""

    segment_seconds: float = Field(default=5.0, gt=0, description="Length of a segment.")
    language: str = Field(default="en", description="The language it always detects.")
    delay: float = Field(default=0.0, ge=0, description="Seconds it takes per second of audio.")
    load_delay: float = Field(default=0.0, ge=0, description="Seconds it takes to load.")
    load_fails: bool = Field(default=False, description="Whether loading ends with an error.")
    fail: Failure | None = Field(default=None, description="How every transcription ends.")
    leak_mb: int = Field(default=16, ge=0, description="Megabytes that `leak` keeps per transcription.")


class FakeAsrEngine(AsrEngine):
    """Deterministic, supports every option, and takes a millisecond unless told otherwise."""

    Options = FakeOptions
    options: FakeOptions
    needs_model = False
    gives_logprobs = True
    languages = ("en", "de", "es", "fr", "ja", "pt", "zh")

    def load(self) -> None:
        """Wait `load_delay` seconds, or fail if the options say so."""
        self._leaked: list[bytearray] = []
        threading.Event().wait(self.options.load_delay)
        if self.options.load_fails:
            raise ConfigurationError("the fake engine was told not to load")

    def transcribe(self, audio: Audio, options: TranscribeOptions) -> Transcription:
        """Return one segment per `segment_seconds` that are not silent, the same ones for the same samples."""
        require_finite(audio)
        guess = LanguageGuess(options.language, 1.0) if options.language else self._guess(audio, options.languages)
        return Transcription(guess.language, audio.duration, self._segments(audio, options), guess.probability)

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Return the language of the options; None for silence."""
        require_finite(audio)
        return self._guess(audio, ())

    def _guess(self, audio: Audio, candidates: tuple[str, ...]) -> LanguageGuess:
        if _is_silent(audio.samples):
            return LanguageGuess(None)
        language = self.options.language
        return LanguageGuess(language if language in candidates or not candidates else candidates[0], 0.9)

    def _segments(self, audio: Audio, options: TranscribeOptions) -> Iterator[Segment]:
        self._fail(options.prompt)
        size = max(round(self.options.segment_seconds * audio.sample_rate), 1)
        for first in range(0, len(audio.samples), size):
            block = audio.samples[first : first + size]
            time.sleep(self.options.delay * len(block) / audio.sample_rate)
            if _is_silent(block):
                continue
            start = first / audio.sample_rate
            end = start + len(block) / audio.sample_rate
            text = _text(block, options)
            words = spread_words(text, start, end) if options.word_timestamps else ()
            yield Segment(
                start=start,
                end=end,
                text=text,
                seek=round(start * 100),
                avg_logprob=_LOGPROB,
                words=words,
                logprobs=_logprobs(text) if options.logprobs else (),
            )

    def _fail(self, prompt: str | None) -> None:
        wanted = (prompt or "").removeprefix(MARKER) if (prompt or "").startswith(MARKER) else self.options.fail
        if wanted in get_args(Failure):
            getattr(self, f"_{wanted}")()

    def _crash(self) -> None:
        os._exit(CRASH_STATUS)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _hang(self) -> None:
        threading.Event().wait()

    def _out_of_memory(self) -> None:
        try:
            raise MemoryError("pretended")
        except MemoryError as error:
            raise InsufficientMemory("the device has no memory left for this request") from error

    def _leak(self) -> None:
        self._leaked.append(bytearray(b"\1") * (self.options.leak_mb << 20))

    def _garbage(self) -> None:
        for descriptor in (1, 2):
            os.write(descriptor, b"\x00\xff\xfe{]\r\n" * 64)

    def _error(self) -> None:
        raise RuntimeError("the fake engine was told to fail")


def _is_silent(samples: Samples) -> bool:
    return not len(samples) or float(np.abs(samples).max()) < _SILENCE_PEAK


def _logprobs(text: str) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(word, _LOGPROB, tuple(word.encode())) for word in re.findall(r" \S+", text))


def _text(block: Samples, options: TranscribeOptions) -> str:
    content = Audio(block, 1).to_s16() + options.task.encode()
    digest = hashlib.sha256(content).digest()
    count = max(1, round(len(block) / 16_000 * _WORDS_PER_SECOND))
    chosen = (_WORDS[digest[index % len(digest)] % len(_WORDS)] for index in range(count))
    return " " + " ".join(chosen).capitalize() + "."
