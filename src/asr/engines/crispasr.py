"""Speech recognition through CrispASR: any ggml or GGUF model of its many architectures, window by window."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from pydantic import Field

from asr.engine import MIN_SECONDS, WindowEngine, WindowText, WindowWork, require_finite
from asr.engines.crispasr_abilities import Abilities
from asr.engines.crispasr_segments import segment_of
from asr.transcript import LanguageGuess, TranscribeOptions
from core.crispasr import CrispasrOptions, Opened, foreign_errors, open_session, whisper_languages
from core.engines import EngineContext
from core.errors import ConfigurationError, InternalError, NotSupported, UnsupportedParameter
from utils.audio.pcm import Audio, Samples

_LEAST_SECONDS = 1.1  # whisper.cpp says nothing about a second or less
# whisper.cpp's own thresholds of entropy, log-probability and no speech; they cannot be set one by one.
_THRESHOLDS = (2.4, -1.0, 0.6)
_TEMPERATURE_STEP = 0.2


class CrispasrAsrOptions(CrispasrOptions):
    """Options of the crispasr engine for speech recognition."""

    language: str | None = Field(
        default=None, description="The one language that the model knows, where its file does not say so."
    )
    beam_size: int = Field(default=1, ge=1, le=32, description="Hypotheses kept, by architectures that search.")


@dataclass(frozen=True, kw_only=True, eq=False)
class CrispasrWork(WindowWork):
    """A window as it is, and how its request wants it; no two of them go in one call."""

    key: Hashable = None
    audio: Audio
    options: TranscribeOptions


class CrispasrAsrEngine(WindowEngine):
    """One session of the library, one window at a time: a call into it cannot be stopped, only its process be ended.

    Words of an architecture that does not time them share the time of their segment by length, with probability 0.
    The library's own streams are not used (docs/adr/0009-crispasr-by-windows.md).
    """

    Options = CrispasrAsrOptions
    options: CrispasrAsrOptions
    requires = ("crispasr",)
    extra = "crispasr"

    backend: str = ""
    """The architecture of the loaded model."""

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._opened: Opened | None = None
        self._abilities = Abilities(self._name)
        # Of a session, and of the library's cache for the detection of languages.
        self._lock = threading.Lock()

    def load(self) -> None:
        """Open the model and give it a second of noise; ConfigurationError (and ModelBroken) says what is wrong."""
        opened = self._opened = open_session(self.context, self.options)
        self.backend = opened.backend
        self.library_features = tuple(sorted(opened.verbs))
        if self.options.language:
            self.languages = (self.options.language,)
        elif self.backend == "whisper":
            self.languages = whisper_languages(opened.path, opened.session)
        if self.backend == "whisper":
            # Brackets and notes, which Whisper writes about what is no speech.
            opened.session.set_whisper_decode_extras(suppress_nst=True)
        self._abilities = Abilities(self._name, opened.backend, opened.verbs, self.languages, opened.path.name)
        self._abilities.check_option(self.options.beam_size)
        noise = np.random.default_rng(0).normal(0.0, 0.01, self.sample_rate).astype(np.float32)
        with foreign_errors(f"transcribe with {self._name}", ConfigurationError):
            opened.session.transcribe(_padded(noise), self.sample_rate, language=self._abilities.own_language)

    def close(self) -> None:
        """Close the session once the window in work is done."""
        with self._lock:
            if self._opened is not None:
                self._opened.session.close()
            self._opened = None

    @property
    def multilingual(self) -> bool:
        """Whether windows need not wait for the language of the first: of those here, Whisper alone detects it."""
        return not self._abilities.detects

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedTask, UnsupportedParameter for what the architecture cannot be told, InvalidRequest."""
        self._abilities.check(options)

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> CrispasrWork:
        """Return the window as it is."""
        del previous
        require_finite(audio)
        self.check(options)
        return CrispasrWork(audio=audio, options=options)

    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText]:
        """Transcribe windows one after another."""
        return [self._decoded(cast("CrispasrWork", work)) for work in works]

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of the first 15 seconds; NotSupported for all but multilingual Whispers."""
        require_finite(audio)
        if not self._abilities.detects:
            raise NotSupported(f"{self._name} cannot detect a language through crispasr")
        if audio.duration < MIN_SECONDS:
            return LanguageGuess(None)
        with self._lock:
            return self._guess(audio.samples)

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    def _loaded(self) -> Opened:
        if self._opened is None:
            raise InternalError("the model is not loaded")
        return self._opened

    def _decoded(self, work: CrispasrWork) -> WindowText:
        audio, options = work.audio, work.options
        wanted = self._abilities.wanted(options)
        # Which languages it knows is told by no file but a Whisper's: one that it does not know fails here.
        error, param = (UnsupportedParameter, "language") if wanted and not self.languages else (InternalError, None)
        with self._lock:
            session = self._loaded().session
            guess = LanguageGuess(wanted, 1.0) if wanted else self._heard(audio)
            with foreign_errors("transcribe this audio", error, param=param):
                self._tell(session, options)
                language = guess.language or self._abilities.own_language
                found = session.transcribe(_padded(audio.samples), self.sample_rate, language=language)
        segments = (segment_of(each, audio.duration, words=options.word_timestamps) for each in found)
        return WindowText(
            segments=tuple(segment for segment in segments if segment is not None),
            language=guess.language,
            language_probability=guess.probability,
        )

    def _heard(self, audio: Audio) -> LanguageGuess:
        return self._guess(audio.samples) if self._abilities.detects else LanguageGuess(None)

    def _guess(self, samples: Samples) -> LanguageGuess:
        """Ask a second copy of the model, which the library opens for that and keeps."""
        import crispasr

        opened = self._loaded()
        with foreign_errors("detect the language", InternalError):
            found = crispasr.detect_language_pcm(
                np.ascontiguousarray(samples),
                method=crispasr.LidMethod.WHISPER,
                model_path=str(opened.path),
                n_threads=opened.threads,
                use_gpu=self.options.gpu,
            )
        if not found.lang_code:
            return LanguageGuess(None)
        return LanguageGuess(found.lang_code, min(max(float(found.confidence), 0.0), 1.0))

    def _tell(self, session: Any, options: TranscribeOptions) -> None:
        """Set what the session remembers from one call to the next, all of it every time."""
        can, translate, temperature = self._abilities, options.task == "translate", options.temperature[0]
        if self.backend == "whisper":
            session.set_translate(translate)
            session.set_fallback_thresholds(*_THRESHOLDS, _TEMPERATURE_STEP if len(options.temperature) > 1 else 0.0)
        elif can.translates:
            session.set_target_language("en" if translate else "")
        if can.samples:
            session.set_temperature(temperature)
        if self.backend == "whisper" or temperature > 0:
            session.set_best_of(options.best_of or 1)
        elif can.samples:
            session.set_best_of(1)  # at 0 each attempt says the same
        if "beam-search" in can.verbs:
            session.set_beam_size(options.beam_size or self.options.beam_size)
        if can.favours_words:
            session.set_hotwords(",".join(word.replace(",", " ") for word in options.hotwords))


def _padded(samples: Samples) -> Samples:
    """Return samples with silence behind them where the library would not listen to so few."""
    least = round(_LEAST_SECONDS * CrispasrAsrEngine.sample_rate)
    return np.pad(samples, (0, max(least - len(samples), 0)))
