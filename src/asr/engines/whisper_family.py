"""What the engines of Whisper models have in common: windows, prompts and languages; each has its own decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from asr.engine import MIN_SECONDS, WindowEngine, WindowText, WindowWork, require_finite
from asr.engines.faster_whisper_prompt import Prompts
from asr.engines.faster_whisper_window import FULL_FRAMES, Features, WhisperWork
from asr.engines.log_mel import log_mel
from asr.engines.whisper_family_options import WhisperFamilyOptions
from asr.engines.whisper_languages import ENGLISH_ONLY, wanted_languages
from asr.transcript import LanguageGuess, TranscribeOptions
from core.errors import NotSupported, UnsupportedTask
from utils.audio.pcm import Audio, Samples

_TOKENS_PER_SECOND = 4


class WhisperDecoder(Protocol):
    """What decodes the windows of an engine."""

    def decode(self, works: Sequence[Any]) -> Sequence[WindowText | WindowWork]:
        """Decode windows whose keys are equal; a work in the results is not done."""

    def guess_language(self, work: Any) -> LanguageGuess:
        """Return the language of one window."""


class WhisperFamily(WindowEngine):
    """An engine of Whisper models. `load` sets `languages` and what is declared here."""

    options: WhisperFamilyOptions
    gives_logprobs = True

    _decoder: WhisperDecoder
    _prompts: Prompts
    _extractor: Any
    """With the attributes of faster-whisper's FeatureExtractor that log_mel reads."""

    @property
    def serial(self) -> bool:
        """Whether a window sees the text before it."""
        return self.options.condition_on_previous_text

    @property
    def multilingual(self) -> bool:
        """Whether the language is detected on every window."""
        return self.options.multilingual

    @property
    def carries_prompt(self) -> bool:
        """Whether every window sees the prompt."""
        return self.options.carry_initial_prompt

    @property
    @abstractmethod
    def transcribes_only(self) -> bool:
        """Whether the model lost the translation that other multilingual Whispers have."""

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedTask, or UnsupportedParameter (`language`, `languages`)."""
        if options.task == "translate" and (self.languages == ENGLISH_ONLY or self.transcribes_only):
            raise UnsupportedTask(f"{self._name} cannot translate; use a multilingual Whisper model", param="task")
        self._wanted_languages(options)

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> WhisperWork:
        """Return a window of at most 30 s as its spectrogram and what the decoder is to be told."""
        require_finite(audio)
        language, candidates = self._wanted_languages(options)
        previous = previous if self.serial else ()
        if self.serial and not self.carries_prompt:
            # Text like any other that comes before: it stays until a high temperature takes it away.
            previous = (*self._prompts.before(options.prompt), *previous)
            options = replace(options, prompt=None)
        return self._work(
            self._features(audio.samples),
            options,
            language=language,
            candidates=candidates,
            context=self._prompts.context(options, previous),
            previous=previous,
        )

    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText | WindowWork]:
        """Decode windows whose keys are equal. Raises InsufficientMemory, DeviceOutOfMemory."""
        return self._decoder.decode(works)

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of the first 30 seconds; NotSupported for an English-only model."""
        require_finite(audio)
        if self.languages == ENGLISH_ONLY:
            raise NotSupported(f"{self._name} knows English only and cannot detect a language")
        if audio.duration < MIN_SECONDS:
            return LanguageGuess(None)
        return self._decoder.guess_language(self._work(self._features(audio.samples), TranscribeOptions()))

    @abstractmethod
    def _work(self, features: Features, options: TranscribeOptions, **values: Any) -> WhisperWork:
        """Return a window with these features, and with `values` as its other fields."""

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    def _wanted_languages(self, options: TranscribeOptions) -> tuple[str | None, tuple[str, ...]]:
        return wanted_languages(options, self.languages, self._name)

    def _features(self, samples: Samples) -> Features:
        """Return the spectrogram of the first 30 seconds, shape (mels, frames)."""
        return log_mel(self._extractor, samples[: FULL_FRAMES * self._extractor.hop_length])[:, :-1]

    def _noise(self, seconds: float, *, words: bool = False) -> Any:
        """Return a window of noise that counts as English, for `_decoder`."""
        samples = np.random.default_rng(0).normal(0.0, 0.01, round(seconds * self.sample_rate)).astype(np.float32)
        options = TranscribeOptions(temperature=(0.0,), word_timestamps=words)
        return self._work(self._features(samples), options, language="en")


def spoken_tokens(seconds: float) -> int:
    """Return how many tokens so many seconds of ordinary speech are, at least one."""
    return max(1, round(seconds * _TOKENS_PER_SECOND))
