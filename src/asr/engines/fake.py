"""Engines without a model: text from a hash of the samples, and ways to fail on request. For tests and trying out.

They fail as their options say, or as one request says in its prompt: "fake:crash", "fake:hang" and so on.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from asr.engine import AsrEngine, WindowEngine, WindowText, WindowWork, require_finite
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
        segments = self._segments(audio, options, delay=self.options.delay)
        return Transcription(guess.language, audio.duration, segments, guess.probability)

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Return the language of the options; None for silence."""
        require_finite(audio)
        return self._guess(audio, ())

    def measure(self, seconds: float, windows: int = 1) -> None:
        """Wait as long as so much speech would take; a batch takes as long as one window."""
        del windows
        time.sleep(self.options.delay * seconds)

    def _guess(self, audio: Audio, candidates: tuple[str, ...]) -> LanguageGuess:
        if _is_silent(audio.samples):
            return LanguageGuess(None)
        language = self.options.language
        return LanguageGuess(language if language in candidates or not candidates else candidates[0], 0.9)

    def _segments(self, audio: Audio, options: TranscribeOptions, *, delay: float) -> Iterator[Segment]:
        self._fail(options.prompt)
        size = max(round(self.options.segment_seconds * audio.sample_rate), 1)
        for first in range(0, len(audio.samples), size):
            block = audio.samples[first : first + size]
            time.sleep(delay * len(block) / audio.sample_rate)
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


class FakeWindowOptions(FakeOptions):
    """Options of the fake engine that decodes windows."""

    batch_size: int = Field(default=4, ge=1, description="Windows it takes at once.")
    slots: int = Field(default=2, ge=1, description="Calls it takes at once.")
    serial: bool = Field(default=False, description="Whether a window needs the one before.")
    multilingual: bool = Field(default=False, description="Whether it detects the language on every window.")
    retries: int = Field(default=0, ge=0, description="How often it is not content with the text of a window.")
    reach: float | None = Field(default=None, gt=0, description="Seconds of a window that it writes in one go.")


@dataclass(frozen=True, kw_only=True, eq=False)
class FakeWork(WindowWork):
    """A window for the fake engine."""

    audio: Audio
    options: TranscribeOptions
    retries: int


class FakeWindowEngine(WindowEngine, FakeAsrEngine):
    """The fake engine, window by window: a batch takes as long as the longest window in it."""

    Options = FakeWindowOptions
    options: FakeWindowOptions

    def load(self) -> None:
        """As the other fake engine does."""
        super().load()
        self.batch_size, self.slots = self.options.batch_size, self.options.slots

    @property
    def serial(self) -> bool:
        """As the options say."""
        return self.options.serial

    @property
    def multilingual(self) -> bool:
        """As the options say."""
        return self.options.multilingual

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> FakeWork:
        """Return a work that can share a call with all of the same task."""
        del previous
        return FakeWork(key=options.task, audio=audio, options=options, retries=self.options.retries)

    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText | WindowWork]:
        """Return the same segments for the same samples, whatever else is in the batch."""
        given = [work for work in works if isinstance(work, FakeWork)]
        time.sleep(self.options.delay * max(work.audio.duration for work in given))
        return [self._decode(work) for work in given]

    def _decode(self, work: FakeWork) -> WindowText | WindowWork:
        if work.retries:
            return replace(work, retries=work.retries - 1)
        audio, options, rest = work.audio, work.options, self.options.reach
        if rest is not None and rest < audio.duration:
            audio = Audio(audio.samples[: round(rest * audio.sample_rate)], audio.sample_rate)
        else:
            rest = None
        guess = LanguageGuess(options.language, 1.0) if options.language else self._guess(audio, options.languages)
        return WindowText(
            segments=tuple(self._segments(audio, options, delay=0.0)),
            language=guess.language,
            language_probability=guess.probability,
            rest=rest,
            tokens=(len(audio.samples),),
        )


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
