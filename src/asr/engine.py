"""The interface of an ASR engine: 16 kHz mono samples in, timed text out."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from asr.transcript import LanguageGuess, TranscribeOptions, Transcription
from core.engines import Engine
from core.errors import InvalidAudio, NotSupported
from utils.audio.pcm import Audio


class AsrEngine(Engine):
    """Base class of ASR engines. Everything runs in a worker process, in at most `context.workers` threads at once."""

    sample_rate: ClassVar[int] = 16_000
    """Hz; the service resamples to it."""
    languages: tuple[str, ...] = ()
    """Codes of the languages the loaded model knows; empty: it does not say."""
    gives_logprobs: ClassVar[bool] = False
    """Whether segments carry the log-probabilities of their tokens when TranscribeOptions.logprobs asks for them."""

    @abstractmethod
    def transcribe(self, audio: Audio, options: TranscribeOptions) -> Transcription:
        """Transcribe one piece of audio.

        Segments come in order, their times within [0, audio.duration]. Audio without speech gives no segments.
        Raises UnsupportedParameter for an option the engine cannot honour, UnsupportedTask for a task it lacks.
        """

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of a piece of audio; NotSupported where the model cannot."""
        del audio
        raise NotSupported(f"{type(self).__name__} cannot detect a language")


def require_finite(audio: Audio) -> None:
    """Raise InvalidAudio for samples that are not a row of finite numbers: one NaN keeps a decoder busy for minutes."""
    samples = audio.samples
    # A sum of squares is NaN or infinite when any sample is, and needs no array of its own.
    if samples.ndim != 1 or not np.isfinite(np.dot(samples, samples)):
        raise InvalidAudio("the audio holds samples that are not finite numbers", param="file")
