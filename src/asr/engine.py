"""The interface of an ASR engine: 16 kHz mono samples in, timed text out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from asr.stream import AsrStream
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, Transcription
from core.engines import Engine
from core.errors import InvalidAudio, NotSupported
from utils.audio.pcm import Audio

MEASURED_SECONDS = 8.0
"""Speech in a window that is measured; see AsrEngine.measure."""
MIN_SECONDS = 0.1
"""Nothing can be said in less, and Whisper makes something up."""


class AsrEngine(Engine):
    """Base class of ASR engines. Everything runs in a worker process, in at most `context.workers` threads at once."""

    sample_rate: ClassVar[int] = 16_000
    """Hz; the service resamples to it."""
    languages: tuple[str, ...] = ()
    """Codes of the languages the loaded model knows; empty: it does not say."""
    gives_logprobs: ClassVar[bool] = False
    """Whether segments carry the log-probabilities of their tokens when TranscribeOptions.logprobs asks for them."""
    streams: bool = False
    """Whether `open_stream` works: the model writes audio that still comes. May be set by `load`."""
    library_features: tuple[str, ...] = ()
    """What the engine's library says the model can do, in its own words, used here or not. May be set by `load`."""

    @abstractmethod
    def transcribe(self, audio: Audio, options: TranscribeOptions) -> Transcription:
        """Transcribe one piece of audio.

        Segments come in order, their times within [0, audio.duration]. Audio without speech gives no segments.
        Raises UnsupportedParameter for an option the engine cannot honour, UnsupportedTask for a task it lacks.
        """

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of a piece of audio, None for silence; NotSupported where the model cannot."""
        del audio
        raise NotSupported(f"{type(self).__name__} cannot detect a language")

    def open_stream(self, options: TranscribeOptions) -> AsrStream:
        """Return what writes audio that still comes; NotSupported where the model needs it whole.

        Raises UnsupportedParameter, UnsupportedTask too. Many streams may be open at once.
        """
        del options
        raise NotSupported(f"{type(self).__name__} writes whole recordings only")

    def measure(self, seconds: float, windows: int = 1) -> None:
        """Do the work that `windows` with `seconds` of ordinary speech are, in one call, on something made up.

        For `voice-stack tune`, which takes the time; called from as many threads at once as transcriptions may run,
        with at most as many windows as a batch has. Raises NotSupported where there is nothing to tune.
        """
        del seconds, windows
        raise NotSupported(f"{type(self).__name__} has nothing to measure")


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowWork:
    """A window that is ready for the device; an engine adds what its `decode` needs.

    Works with equal `key`s and much the same `length` may be decoded in one call, those whose key is None only alone.
    The unit of the length is the engine's own.
    """

    key: Hashable
    length: int = 1


@dataclass(frozen=True, kw_only=True)
class WindowText:
    """What a window says; times of segments and words are seconds from the beginning of the window.

    Segments have speech only, are in order, and have words and logprobs only where they were asked for. `language` and
    its probability are those it was decoded in: detected on this window, or given (then with probability 1); what
    is detected where there are no segments counts for nothing. `rest` is the second from which on there is speech that
    is not written yet, None when all is done. `tokens` are what `prepare` of the next window gets as `previous`.
    """

    segments: tuple[Segment, ...] = ()
    language: str | None = None
    language_probability: float = 1.0
    rest: float | None = None
    tokens: tuple[int, ...] = ()


class WindowEngine(AsrEngine):
    """An engine that decodes windows of speech, those of different requests in one call where it can.

    The service finds the speech, packs it into windows of at most `window_seconds`, and keeps them in order; what
    `detect_language` is given is such a window too, of at most 30 seconds.
    """

    window_seconds: float = 30.0
    """Longest window; `load` may set it."""
    batch_size: int = 1
    """Windows that one call of `decode` takes; `load` may set it."""
    room: int | None = None
    """The most that works in one call are long together, padded to the longest; None: any. `load` may set it."""
    slots: int = 1
    """Calls of `decode` at the same time; `load` may set it."""

    @property
    def serial(self) -> bool:
        """Whether a window needs the `tokens` of the one before."""
        return False

    @property
    def multilingual(self) -> bool:
        """Whether the language is detected on every window, and not only on the first one of a request."""
        return False

    @property
    def carries_prompt(self) -> bool:
        """Whether every window sees the prompt of its request, and not only the first one."""
        return False

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedParameter or UnsupportedTask for what cannot be done; called before any audio is read."""

    @abstractmethod
    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> WindowWork:
        """Return the work that a window of joined speech is: all that needs no device, such as its spectrogram.

        Runs in any thread, in several at once. `options.language` None: detect it on this window. `options.prompt` is
        there for the first window only, unless the engine `carries_prompt`. `previous` are the tokens of the window
        before, for a `serial` engine.
        """

    @abstractmethod
    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText | WindowWork]:
        """Decode works with equal keys, at most `batch_size` of them; return as many results in the same order.

        A result that is a work again says that this one is to be decoded next, because the text was no good.
        Runs in at most `slots` threads at once (and a spare one on a CPU).
        """

    def transcribe(self, audio: Audio, options: TranscribeOptions) -> Transcription:
        """Transcribe one piece of audio in this thread, window by window. Raises InvalidAudio too."""
        from asr import windowed  # noqa: PLC0415 - which needs this module

        require_finite(audio)
        return windowed.transcribe(self, audio, options)


def require_finite(audio: Audio) -> None:
    """Raise InvalidAudio for samples that are not a row of finite numbers: one NaN keeps a decoder busy for minutes."""
    samples = audio.samples
    # A sum of squares is NaN or infinite when any sample is, and needs no array of its own.
    if samples.ndim != 1 or not np.isfinite(np.dot(samples, samples)):
        raise InvalidAudio("the audio holds samples that are not finite numbers", param="file")
