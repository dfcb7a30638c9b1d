"""Whisper through faster-whisper (CTranslate2): int8 on a CPU, float16 on a GPU, from a folder, never from a hub."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from asr.engine import AsrEngine, require_finite
from asr.engines.faster_whisper_decoding import FasterWhisperOptions, transcription_options
from asr.engines.faster_whisper_scores import Scores
from asr.engines.faster_whisper_segments import FRAMES_PER_SECOND, is_speech, place
from asr.engines.log_mel import log_mel
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, Transcription, VadOptions, in_order
from core.errors import (
    ConfigurationError,
    DeviceOutOfMemory,
    InsufficientMemory,
    ModelBroken,
    NotSupported,
    UnsupportedParameter,
    UnsupportedTask,
)
from utils import languages
from utils.audio import vad
from utils.audio.pcm import Audio
from utils.audio.spans import Span, Timeline, keep

_FILES = ("config.json", "model.bin", "tokenizer.json")
_MAX_INTRA_THREADS = 4
_EARLY_SECONDS = (6.0, 12.0)  # a first window that shall be ready early ends in between
_EARLY_FROM_SECONDS = 20.0  # less speech is decoded as soon in one window
_MIN_SECONDS = 0.1  # nothing can be said in less, and Whisper makes something up
# CTranslate2 has one class, RuntimeError, for all that goes wrong: only the text tells a full device from the rest.
_OUT_OF_MEMORY = re.compile(r"out of memory|alloc_failed|failed to allocate", re.IGNORECASE)
# Distilled models were trained without translation and answer in the language that was spoken.
_TRANSCRIBES_ONLY = re.compile(r"turbo|distil", re.IGNORECASE)


class FasterWhisperEngine(AsrEngine):
    """Any Whisper model in CTranslate2's format; may be called from `context.workers` threads at once."""

    Options = FasterWhisperOptions
    options: FasterWhisperOptions
    requires = ("faster_whisper", "ctranslate2")
    runtime = "ctranslate2"
    gives_logprobs = True

    def load(self) -> None:
        """Load the weights and decode a second of noise.

        Raises ConfigurationError for a folder or device that cannot be used, InsufficientMemory.
        """
        from faster_whisper import transcribe as library

        self._library = library
        folder = self._folder()
        try:
            with _foreign_errors():
                self._model = library.WhisperModel(
                    str(folder),
                    device="cpu" if self.context.device == "cpu" else "cuda",  # ROCm builds call theirs "cuda" too
                    device_index=self.context.device_index,
                    compute_type=self._compute_type(),
                    cpu_threads=self.context.threads or _threads_per_call(self.context.workers),
                    num_workers=self.context.workers,
                )
        except (RuntimeError, ValueError) as error:
            reason = str(error).replace(str(folder), self._name)
            raise ModelBroken(f"faster-whisper cannot load {self._name}: {reason}") from error
        self.languages = self._known_languages()
        self._smoke_test()

    def close(self) -> None:
        """Drop the model; what the libraries keep comes back when the process ends."""
        self._model = None

    @property
    def compute_type(self) -> str:
        """The number format in use; CTranslate2 may have replaced the one asked for."""
        return str(self._model.model.compute_type)

    def transcribe(self, audio: Audio, options: TranscribeOptions) -> Transcription:
        """Transcribe 16 kHz audio; a language that was not given is detected on the first 30 seconds of speech.

        Raises InvalidAudio, UnsupportedTask, UnsupportedParameter (`language`, `languages`), InsufficientMemory.
        """
        require_finite(audio)
        self._check_task(options)
        language, candidates = self._wanted_languages(options)
        spans = _spans(audio, options.vad)
        if not spans:
            return Transcription(options.language, audio.duration, _nothing(), 1.0 if options.language else 0.0)
        with _foreign_errors():
            speech = keep(audio, spans)
            features = log_mel(self._model.feature_extractor, speech.samples)
            first_window = _early_end(speech) if options.early else None
            first, guess = None, LanguageGuess(language, 1.0)
            if language is None:
                first = self._encode_first(features, first_window)
                guess = self._guess(first, candidates)
        # Around a cut twice the padding is silent, and there Whisper's times, in steps of 20 ms, are loose.
        slack = 2 * options.vad.speech_pad_ms / 1000 if options.vad else 0.0
        tokenizer = self._tokenizer(guess.language, options)
        decoding = transcription_options(self._library, tokenizer, self.options, options, first_window=first_window)
        scores = Scores(tokenizer) if options.logprobs else None
        found = self._decode(features, first, tokenizer, decoding, scores)
        segments = in_order(self._placed(found, Timeline(spans, slack=slack), options, scores), audio.duration)
        return Transcription(guess.language, audio.duration, segments, guess.probability)

    def detect_language(self, audio: Audio) -> LanguageGuess:
        """Tell the language of the first 30 seconds of speech; NotSupported for an English-only model."""
        require_finite(audio)
        if self._speaks_english_only:
            raise NotSupported(f"{self._name} knows English only and cannot detect a language")
        spans = _spans(audio, VadOptions())
        if not spans:
            return LanguageGuess(None)
        speech = keep(audio, spans).samples[: self._model.feature_extractor.n_samples]
        with _foreign_errors():
            return self._guess(self._encode_first(log_mel(self._model.feature_extractor, speech)), ())

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    @property
    def _speaks_english_only(self) -> bool:
        return self.languages == ("en",)

    def _folder(self) -> Path:
        folder = self.context.model
        if folder is None:
            raise ConfigurationError("faster-whisper needs the folder of a Whisper model in CTranslate2's format")
        # Without tokenizer.json the library would go and ask the hub for one.
        if missing := [name for name in _FILES if not (folder / name).is_file()]:
            raise ModelBroken(f"the folder of {self._name} lacks {', '.join(missing)}")
        return folder

    def _compute_type(self) -> str:
        if self.context.compute_type != "default":
            return self.context.compute_type
        return "int8" if self.context.device == "cpu" else "float16"

    def _known_languages(self) -> tuple[str, ...]:
        """Return the codes that have a token: Cantonese has none before large-v3."""
        token = self._model.hf_tokenizer.token_to_id
        return tuple(code for code in self._model.supported_languages if code == "en" or token(f"<|{code}|>"))

    def _smoke_test(self) -> None:
        noise = np.random.default_rng(0).normal(0.0, 0.01, self.sample_rate).astype(np.float32)
        vad.speech(Audio(noise, self.sample_rate))
        options = TranscribeOptions(temperature=(0.0,), beam_size=1)
        features = log_mel(self._model.feature_extractor, noise)
        first = self._encode_first(features)
        tokenizer = self._tokenizer("en", options)
        decoding = transcription_options(self._library, tokenizer, self.options, options)
        found = self._decode(features, first, tokenizer, decoding)
        if not (np.isfinite(np.array(first)).all() and all(math.isfinite(segment.avg_logprob) for segment in found)):
            raise ModelBroken(f"{self._name} computes nonsense: its weights are damaged")

    def _check_task(self, options: TranscribeOptions) -> None:
        if options.task == "translate" and (self._speaks_english_only or _TRANSCRIBES_ONLY.search(self._name)):
            raise UnsupportedTask(f"{self._name} cannot translate; use a multilingual Whisper model", param="task")

    def _wanted_languages(self, options: TranscribeOptions) -> tuple[str | None, tuple[str, ...]]:
        """Return the language to use, None to detect it, and the candidates for that (none: all)."""
        if options.language:
            return self._known(options.language, "language"), ()
        candidates = tuple(self._known(code, "languages") for code in options.languages)
        if len(candidates) == 1:
            return candidates[0], ()
        return ("en" if self._speaks_english_only else None), candidates

    def _known(self, code: str, param: str) -> str:
        found = languages.nearest(code, self.languages)
        if found is None:
            known = "English only" if self._speaks_english_only else f"{len(self.languages)} languages, not {code!r}"
            raise UnsupportedParameter(f"{self._name} knows {known}", param=param)
        return found

    def _encode_first(self, features: Any, seconds: float | None = None) -> Any:
        """Encode the first window exactly as decoding does, which then need not do it again."""
        longest = self._model.feature_extractor.nb_max_frames
        frames = min(features.shape[-1] - 1, round(seconds * FRAMES_PER_SECOND) if seconds else longest)
        return self._model.encode(self._library.pad_or_trim(features[..., :frames]))

    def _guess(self, encoded: Any, candidates: tuple[str, ...]) -> LanguageGuess:
        """Return the most probable language; among candidates the probabilities add up to one."""
        found = self._model.model.detect_language(encoded)[0]
        likely = {token.strip("<|>"): float(probability) for token, probability in found}
        if candidates:
            likely = {code: likely.get(code, 0.0) for code in candidates}
        best = max(likely, key=likely.__getitem__)
        return LanguageGuess(best, likely[best] / (sum(likely.values()) or 1.0))

    def _tokenizer(self, language: str | None, options: TranscribeOptions) -> Any:
        multilingual = self._model.model.is_multilingual
        return self._library.Tokenizer(self._model.hf_tokenizer, multilingual, task=options.task, language=language)

    def _decode(
        self, features: Any, first: Any, tokenizer: Any, decoding: Any, scores: Scores | None = None
    ) -> Iterator[Any]:
        """Yield the library's segments; closing this stops the work at the segment it has reached."""
        model = scores.listening(self._model) if scores else self._model
        with _foreign_errors():
            yield from model.generate_segments(features, tokenizer, decoding, False, first)

    def _placed(
        self, found: Iterator[Any], timeline: Timeline, options: TranscribeOptions, scores: Scores | None
    ) -> Iterator[Segment]:
        for segment in found:
            logprobs = scores.of(segment.tokens) if scores else ()
            if is_speech(segment, self.options):
                placed = replace(place(segment, timeline), logprobs=logprobs)
                yield placed if options.word_timestamps else replace(placed, words=())


def _early_end(speech: Audio) -> float | None:
    """Return the second at which the first window ends so that its text comes early: at a pause, where there is one."""
    if speech.duration < _EARLY_FROM_SECONDS:
        return None
    least, most = (round(seconds * speech.sample_rate) for seconds in _EARLY_SECONDS)
    return _EARLY_SECONDS[0] + vad.find_silence(Audio(speech.samples[least:most], speech.sample_rate))


def _threads_per_call(workers: int) -> int:
    return max(1, min(_MAX_INTRA_THREADS, (os.cpu_count() or 1) // workers))


def _spans(audio: Audio, options: VadOptions | None) -> list[Span]:
    if options is None:
        return [Span(0.0, audio.duration)] if audio.duration >= _MIN_SECONDS else []
    return vad.speech(
        audio,
        threshold=options.threshold,
        min_speech_ms=options.min_speech_ms,
        min_silence_ms=options.min_silence_ms,
        padding_ms=options.speech_pad_ms,
    )


def _nothing() -> Iterator[Segment]:
    yield from ()


@contextmanager
def _foreign_errors() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            full = DeviceOutOfMemory if "cuda" in str(error).lower() else InsufficientMemory
            raise full("the device has no memory left for this request") from error
        raise
