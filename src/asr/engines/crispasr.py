"""Speech recognition through CrispASR: any ggml or GGUF model of its many architectures, window by window."""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from pydantic import Field

from asr.engine import WindowEngine, WindowText, WindowWork, require_finite
from asr.engines.crispasr_segments import segment_of
from asr.transcript import TEMPERATURE_LADDER, LanguageGuess, TranscribeOptions
from core.crispasr import CrispasrOptions, Opened, foreign_errors, open_session, whisper_languages
from core.engines import EngineContext
from core.errors import ConfigurationError, InternalError, NotSupported, UnsupportedParameter, UnsupportedTask
from utils import languages
from utils.audio.pcm import Audio, Samples

_MIN_SECONDS = 0.1
_LEAST_SECONDS = 1.1  # whisper.cpp says nothing about a second or less
_STREAMS = ("none", "rolling", "persistent", "prefix")
_TOLD = frozenset({"canary", "cohere"})
"""Architectures that are told a language in any case; without one they take English."""
_FAVOURS_WORDS = frozenset({"parakeet", "qwen3", "vibevoice"})
# Distilled Whispers were trained without translation and answer in the language that was spoken.
_TRANSCRIBES_ONLY = re.compile(r"turbo|distil", re.IGNORECASE)
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

    A language that a request names is a hint to architectures that detect it by themselves and cannot be told. Words of
    an architecture that does not time them share the time of their segment by length, with probability 0.
    """

    Options = CrispasrAsrOptions
    options: CrispasrAsrOptions
    requires = ("crispasr",)
    extra = "crispasr"

    backend: str = ""
    """The architecture of the loaded model."""
    stream_kind: str = "none"
    """How the library streams this architecture while audio still comes: not at all, by decoding a rolling window
    again, with caches that persist, or by extending a text. Windows are transcribed the same way for all of them."""

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._opened: Opened | None = None
        # Of a session, and of the library's cache for the detection of languages.
        self._lock = threading.Lock()

    def load(self) -> None:
        """Open the model and give it a second of noise; ConfigurationError (and ModelBroken) says what is wrong."""
        opened = self._opened = open_session(self.context, self.options)
        self.backend = opened.backend
        self.stream_kind = _STREAMS[opened.session.stream_kind()]
        if self.options.language:
            self.languages = (self.options.language,)
        elif self.backend == "whisper":
            self.languages = whisper_languages(opened.path, opened.session)
            # Brackets and notes, which Whisper writes about what is no speech.
            opened.session.set_whisper_decode_extras(suppress_nst=True)
        noise = np.random.default_rng(0).normal(0.0, 0.01, self.sample_rate).astype(np.float32)
        with foreign_errors(f"transcribe with {self._name}", ConfigurationError):
            opened.session.transcribe(_padded(noise), self.sample_rate, language=self._default_language)

    def close(self) -> None:
        """Close the session once the window in work is done."""
        with self._lock:
            if self._opened is not None:
                self._opened.session.close()
            self._opened = None

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedTask, or UnsupportedParameter for what the architecture cannot be told."""
        if options.task == "translate" and not self._translates:
            raise UnsupportedTask(f"{self._name} cannot translate", param="task")
        if options.language:
            self._known(options.language, "language")
        for code in options.languages:
            self._known(code, "languages")
        refused = {
            "languages": len(options.languages) > 1,
            "prompt": options.prompt,
            "hotwords": options.hotwords and self.backend not in _FAVOURS_WORDS,
            "temperature": options.temperature not in {TEMPERATURE_LADDER, (0.0,)},
            "beam_size": options.beam_size and "beam-search" not in self._verbs,
            "best_of": options.best_of,
        }
        for name, given in refused.items():
            if given:
                raise UnsupportedParameter(f"{self._name} cannot be told {name} through crispasr", param=name)

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
        if not self._detects:
            raise NotSupported(f"{self._name} cannot detect a language through crispasr")
        if audio.duration < _MIN_SECONDS:
            return LanguageGuess(None)
        with self._lock:
            return self._guess(audio.samples)

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    @property
    def _verbs(self) -> frozenset[str]:
        return self._loaded().verbs

    @property
    def _detects(self) -> bool:
        return self.backend == "whisper" and len(self.languages) > 1

    @property
    def _translates(self) -> bool:
        if self.backend == "whisper":
            name = f"{self._name} {self._loaded().path.name}"
            return len(self.languages) > 1 and not _TRANSCRIBES_ONLY.search(name)
        return {"translate", "src-tgt-language"} <= self._verbs

    @property
    def _default_language(self) -> str | None:
        if len(self.languages) == 1:
            return self.languages[0]
        return "en" if self.backend in {"whisper", *_TOLD} else None

    def _loaded(self) -> Opened:
        if self._opened is None:
            raise InternalError("the model is not loaded")
        return self._opened

    def _known(self, code: str, param: str) -> str:
        """Return a language as the model calls it; all of them where it does not say which it knows."""
        found = languages.nearest(code, self.languages) if self.languages else code
        if found is None:
            raise UnsupportedParameter(f"{self._name} does not know the language {code!r}", param=param)
        return found

    def _decoded(self, work: CrispasrWork) -> WindowText:
        audio, options = work.audio, work.options
        with self._lock:
            session = self._loaded().session
            guess = self._language(audio, options)
            with foreign_errors("transcribe this audio", InternalError):
                self._tell(session, options)
                found = session.transcribe(_padded(audio.samples), self.sample_rate, language=guess.language)
        segments = (segment_of(each, audio.duration, words=options.word_timestamps) for each in found)
        return WindowText(
            segments=tuple(segment for segment in segments if segment is not None),
            language=guess.language,
            language_probability=guess.probability,
        )

    def _language(self, audio: Audio, options: TranscribeOptions) -> LanguageGuess:
        """Return what to transcribe in: as told, else as detected, else the model's own; None where it decides."""
        if options.language:
            return LanguageGuess(self._known(options.language, "language"), 1.0)
        if options.languages:
            return LanguageGuess(self._known(options.languages[0], "languages"), 1.0)
        if self._detects:
            guess = self._guess(audio.samples)
            return guess if guess.language else LanguageGuess(self._default_language)
        own = self._default_language
        return LanguageGuess(own, 1.0 if own else 0.0)

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
        translate = options.task == "translate"
        if self.backend == "whisper":
            session.set_translate(translate)
            session.set_fallback_thresholds(*_THRESHOLDS, _TEMPERATURE_STEP if len(options.temperature) > 1 else 0.0)
        elif self._translates:
            session.set_target_language("en" if translate else "")
        if "beam-search" in self._verbs:
            session.set_beam_size(options.beam_size or self.options.beam_size)
        if self.backend in _FAVOURS_WORDS:
            session.set_hotwords(",".join(word.replace(",", " ") for word in options.hotwords))


def _padded(samples: Samples) -> Samples:
    """Return samples with silence behind them where the library would not listen to so few."""
    least = round(_LEAST_SECONDS * CrispasrAsrEngine.sample_rate)
    return np.pad(samples, (0, max(least - len(samples), 0)))
