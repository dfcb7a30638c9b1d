"""The sherpa-onnx engine: Zipformer, Paraformer, NeMo, SenseVoice, Moonshine, Whisper and more, on the CPU.

What a folder holds is found out by core.sherpa. Models made for streams listen on and on besides (`open_stream`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from asr.engine import MIN_SECONDS, WindowEngine, WindowText, WindowWork, require_finite
from asr.engines.sherpa_onnx_languages import DETECTING, known_languages, wanted_language
from asr.engines.sherpa_onnx_options import SherpaOnnxOptions, arguments, favours_words, stretch
from asr.engines.sherpa_onnx_stream import SherpaStream, finish, library_stream
from asr.engines.sherpa_onnx_text import Heard, heard, segments
from asr.stream import AsrStream
from asr.transcript import TEMPERATURE_LADDER, LanguageGuess, TranscribeOptions
from core import sherpa
from core.devices import usable_cores
from core.engines import EngineContext, EngineOptions
from core.errors import InternalError, InvalidRequest, ModelBroken, NotSupported, UnsupportedParameter, UnsupportedTask
from utils.audio.pcm import Audio, Samples

_MOST_THREADS = 4
_WHISPER_SECONDS = 29.0  # of 29.5 and more the library drops the end
_WINDOW_SECONDS = 20.0
_ASSUMED = "en"  # by families that write no text without a language
_CONFIGURED = frozenset({"whisper", "nemo_canary"})
"""Families whose language and task are set for all calls at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SherpaWork(WindowWork):
    """A window as it is, what its request wants, and the language to write it in; None: the model's or detected."""

    samples: Samples
    options: TranscribeOptions
    language: str | None


class SherpaOnnxEngine(WindowEngine):
    """A folder with the files of one model of sherpa-onnx; a call cannot be stopped, only its process be ended.

    The library tells no probability of a language that it detected: it counts as certain.
    """

    Options: ClassVar[type[EngineOptions]] = SherpaOnnxOptions
    options: SherpaOnnxOptions
    requires = ("sherpa_onnx",)
    extra = "sherpa"
    licence = "Apache-2.0"

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._lock = threading.Lock()  # of the configuration of a family in _CONFIGURED
        self._model = sherpa.SherpaModel(family="", kind="offline")
        self._recognizer: Any = None

    def load(self) -> None:
        """Open the model and decode noise. Raises ConfigurationError, ModelBroken."""
        import sherpa_onnx as library

        options = self.options
        model = self._model = sherpa.opened(
            self.context.model, ("offline", "online"), int8=options.int8, family=options.family
        )
        folder = cast("Path", self.context.model)
        made_by = library.OnlineRecognizer if model.kind == "online" else library.OfflineRecognizer
        make = getattr(made_by, f"from_{model.family}", None)
        if make is None:
            raise ModelBroken(f"this sherpa-onnx ({library.__version__}) opens no {model.kind} {model.family} models")
        threads = self.context.threads or min(_MOST_THREADS, usable_cores())
        with self._foreign_errors("load"):
            self._recognizer = make(**arguments(model, options, folder=folder, threads=threads))
        self.streams = model.kind == "online"
        self.slots = max(self.context.workers, 1)
        self.batch_size = options.batch_size
        self.window_seconds = _WHISPER_SECONDS if model.family == "whisper" else _WINDOW_SECONDS
        self.languages = known_languages(model, options.languages)
        self._prove()

    def close(self) -> None:
        """Drop the model."""
        self._recognizer = None

    @property
    def multilingual(self) -> bool:
        """Whether windows need not wait for the language of the first: Whisper alone detects and can be told it."""
        return self._model.family != "whisper"

    def check(self, options: TranscribeOptions) -> None:
        """Raise UnsupportedTask, UnsupportedParameter for what the model cannot be told, InvalidRequest."""
        if options.task == "translate" and not self._translates:
            raise UnsupportedTask(f"{self._name} cannot translate", param="task")
        wanted = self._wanted(options)
        if options.task == "translate" and self._model.family == "nemo_canary" and wanted is None:
            raise InvalidRequest(f"{self._name} has to be told the language to translate from", param="language")
        refused = {
            "prompt": options.prompt,
            "hotwords": options.hotwords and not self._favours_words,
            "temperature": options.temperature not in {TEMPERATURE_LADDER, (0.0,)},
            "beam_size": options.beam_size,
            "best_of": options.best_of,
        }
        for name, given in refused.items():
            if given:
                raise UnsupportedParameter(f"{self._name} cannot be told {name} through sherpa-onnx", param=name)

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> SherpaWork:
        """Return the window as it is; those of one language and task go in one call."""
        del previous
        require_finite(audio)
        self.check(options)
        language = self._wanted(options)
        samples = np.ascontiguousarray(audio.samples, dtype=np.float32)
        return SherpaWork(key=(language, options.task), samples=samples, options=options, language=language)

    def decode(self, works: Sequence[WindowWork]) -> Sequence[WindowText]:
        """Decode windows of one language and task."""
        given = [cast("SherpaWork", work) for work in works]
        found = self._streamed(given) if self.streams else self._whole(given)
        return [self._text(work, each) for work, each in zip(given, found, strict=True)]

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of a window by writing it; NotSupported for all but Whisper and SenseVoice."""
        require_finite(audio)
        if not self._detects:
            raise NotSupported(f"{self._name} cannot detect a language through sherpa-onnx")
        if audio.duration < MIN_SECONDS:
            return LanguageGuess(None)
        limit = round(self.window_seconds * self.sample_rate)
        work = self.prepare(Audio(audio.samples[:limit], self.sample_rate), TranscribeOptions())
        found = self._whole([work])[0]
        return LanguageGuess(found.language, 1.0) if found.language and found.text else LanguageGuess(None)

    def open_stream(self, options: TranscribeOptions) -> AsrStream:
        """Return what writes audio that still comes; NotSupported for a model of whole recordings."""
        if not self.streams:
            raise NotSupported(f"{self._name} writes whole recordings only; streams need a streaming model")
        self.check(options)
        return SherpaStream(self._loaded(), options, stretch=stretch(self._model))

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    @property
    def _multilingual_whisper(self) -> bool:
        return self._model.family == "whisper" and self._model.fact("is_multilingual") > 0

    @property
    def _detects(self) -> bool:
        return self._multilingual_whisper or self._model.family in DETECTING

    @property
    def _translates(self) -> bool:
        return self._multilingual_whisper or self._model.family == "nemo_canary"

    @property
    def _favours_words(self) -> bool:
        folder = self.context.model
        return folder is not None and favours_words(self._model, self.options, folder)

    def _wanted(self, options: TranscribeOptions) -> str | None:
        return wanted_language(options, self.languages, family=self._model.family, name=self._name)

    def _loaded(self) -> Any:
        if self._recognizer is None:
            raise InternalError("the model is not loaded")
        return self._recognizer

    @contextmanager
    def _foreign_errors(self, doing: str) -> Iterator[None]:
        """Translate the library's errors, which share no class; some it only logs, and ends the process."""
        try:
            yield
        except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
            reason = str(error).replace(str(self.context.model), self._name)
            raise ModelBroken(f"sherpa-onnx cannot {doing} {self._name}: {reason}") from error

    def _whole(self, works: Sequence[SherpaWork]) -> list[Heard]:
        recognizer = self._loaded()
        found = []
        for work in works:
            stream = library_stream(recognizer, work.options)
            if self._model.family == "cohere_transcribe":
                stream.set_option("language", work.language or _ASSUMED)
            stream.accept_waveform(self.sample_rate, work.samples)
            found.append(stream)
        with self._foreign_errors("decode with"):
            if self._model.family in _CONFIGURED:
                with self._lock:
                    self._configure(works[0])
                    recognizer.decode_streams(found)
            else:
                recognizer.decode_streams(found)
        return [heard(stream.result) for stream in found]

    def _configure(self, work: SherpaWork) -> None:
        """Set language and task, which the recogniser has for all its streams."""
        config = self._recognizer.config
        if self._model.family == "whisper":
            # An English-only model knows no languages, and ends the process when it is told one.
            config.model_config.whisper.language = (work.language or "") if self._multilingual_whisper else ""
            config.model_config.whisper.task = work.options.task
        else:
            spoken = work.language or _ASSUMED
            config.model_config.canary.src_lang = spoken
            config.model_config.canary.tgt_lang = "en" if work.options.task == "translate" else spoken
        self._recognizer.recognizer.set_config(config)

    def _streamed(self, works: Sequence[SherpaWork]) -> list[Heard]:
        recognizer = self._loaded()
        found = []
        for work in works:
            stream = library_stream(recognizer, work.options)
            stream.accept_waveform(self.sample_rate, work.samples)
            found.append(stream)
            finish(stream)
        with self._foreign_errors("decode with"):
            while ready := [stream for stream in found if recognizer.is_ready(stream)]:
                recognizer.decode_streams(ready)
        factor = stretch(self._model)
        return [heard(recognizer.get_result_all(stream), stretch=factor) for stream in found]

    def _text(self, work: SherpaWork, found: Heard) -> WindowText:
        language = work.language or (found.language if self._detects else None)
        return WindowText(
            segments=segments(found, len(work.samples) / self.sample_rate, words=work.options.word_timestamps),
            language=language,
            language_probability=1.0 if language else 0.0,
        )

    def _prove(self) -> None:
        noise = np.random.default_rng(0).normal(0.0, 0.01, self.sample_rate).astype(np.float32)
        self.decode([self.prepare(Audio(noise, self.sample_rate), TranscribeOptions(vad=None))])
