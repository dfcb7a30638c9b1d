"""Windows through openai-whisper: encoded once, then language, text at rising temperatures, and word times."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from asr.engine import WindowText, WindowWork
from asr.engines.faster_whisper_guard import Attempt, best, is_acceptable, is_silence
from asr.engines.faster_whisper_prompt import CONTEXT_TOKENS
from asr.engines.faster_whisper_segments import cut
from asr.engines.faster_whisper_window import TIMESTAMP_SECONDS, WhisperWork, stacked
from asr.engines.whisper_languages import likeliest
from asr.engines.whisper_options import WhisperOptions, search
from asr.engines.whisper_segments import segments
from asr.transcript import LanguageGuess
from core.errors import DeviceOutOfMemory, InsufficientMemory


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchWork(WhisperWork):
    """A window for openai-whisper: always 30 seconds long, and in one call only with windows that are told the same."""

    def __post_init__(self) -> None:
        """Name all that the windows of one call must have in common."""
        how = self.decoding
        told = (self.language, self.task, self.context, self.temperature, how.beam_size, how.best_of)
        # A window whose language is not known yet is not decoded: all of those go together.
        object.__setattr__(self, "key", told if self.language else ("language",))
        object.__setattr__(self, "length", self.frames)


class TorchDecoder:
    """Decodes windows with a loaded model of openai-whisper, for one caller at a time: others wait.

    The library hooks into the layers of the model, and changes how all models attend while it aligns.
    """

    def __init__(self, model: Any, options: WhisperOptions, *, half: bool) -> None:
        import torch
        import whisper

        self._torch, self._library = torch, whisper
        self._model = model
        self._options = options
        self._half = half
        self._lock = threading.Lock()

    def tokenizer(self, language: str | None, task: str) -> Any:
        """Return the tokenizer of a language and task; the library keeps it, so it is not to be changed."""
        model = self._model
        return self._library.tokenizer.get_tokenizer(
            model.is_multilingual, num_languages=model.num_languages, language=language or "en", task=task
        )

    def decode(self, works: Sequence[TorchWork]) -> list[WindowText | WindowWork]:
        """Detect the language of windows, or decode them at their temperature; a work in the results is not done.

        Raises InsufficientMemory, DeviceOutOfMemory.
        """
        first = works[0]
        with self._computing():
            features = self._encoded(works)
            if first.language is None:
                return [
                    replace(work, language=guess.language, language_probability=guess.probability, encoding=row.clone())
                    for work, guess, row in zip(works, self._guesses(works, features), features, strict=True)
                ]
            results = self._results(features, self._told(first))
            return [
                self._decided(work, self._attempt(work, result), row)
                for work, result, row in zip(works, results, features, strict=True)
            ]

    def guess_language(self, work: TorchWork) -> LanguageGuess:
        """Return the language of one window. Raises InsufficientMemory, DeviceOutOfMemory."""
        with self._computing():
            return self._guesses([work], self._encoded([work]))[0]

    def write(self, works: Sequence[TorchWork], *, tokens: int, align: bool = False) -> bool:
        """Encode, write exactly so many tokens, and `align` the first text; return whether all numbers are finite."""
        first = works[0]
        tokenizer = self.tokenizer(first.language, first.task)
        exactly = {"sample_len": tokens, "suppress_tokens": [-1, tokenizer.eot], "without_timestamps": True}
        with self._computing():
            features = self._encoded(works)
            if not bool(self._torch.isfinite(features).all()):
                return False
            results = self._results(features, self._told(first, **exactly))
            attempts = [self._attempt(work, result) for work, result in zip(works, results, strict=True)]
            if align:
                self._text(first, replace(attempts[0], no_speech_prob=0.0), features[0])
        return all(math.isfinite(attempt.avg_logprob) for attempt in attempts)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Hold the model, and turn running out of memory into our own errors."""
        try:
            with self._lock, self._torch.inference_mode():
                yield
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, self._torch.OutOfMemoryError):
                raise DeviceOutOfMemory("the device has no memory left for this request") from error
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                raise InsufficientMemory("the machine has no memory left for this request") from error
            raise

    def _told(self, work: TorchWork, **options: Any) -> Any:
        """Return the library's options for a window; `options` are more of them."""
        return self._library.DecodingOptions(
            task=work.task,
            language=work.language,
            prompt=list(work.context[1:]) or None,  # the library puts the token in front of it that opens a context
            max_initial_timestamp=self._options.max_initial_timestamp,
            fp16=self._half,
            **search(work, self._options),
            **options,
        )

    def _encoded(self, works: Sequence[TorchWork]) -> Any:
        """Return the encodings of windows, shape (works, positions, size); those that have none are encoded."""
        rows = [work.encoding for work in works]
        new = [at for at, row in enumerate(rows) if row is None]
        if new:
            mels = self._torch.from_numpy(stacked([works[at] for at in new])).to(self._model.device)
            for at, row in zip(new, self._model.encoder(mels.half() if self._half else mels), strict=True):
                rows[at] = row
        return self._torch.stack(rows)

    def _results(self, features: Any, told: Any) -> list[Any]:
        """Decode encoded windows: where each has several hypotheses one by one, for the library mixes them up."""
        if (told.beam_size or told.best_of or 1) == 1:
            return list(self._library.decode(self._model, features, told))
        return [self._library.decode(self._model, row, told) for row in features]

    def _guesses(self, works: Sequence[TorchWork], features: Any) -> list[LanguageGuess]:
        _, found = self._library.detect_language(self._model, features)
        return [likeliest(row, work.candidates) for work, row in zip(works, found, strict=True)]

    def _attempt(self, work: TorchWork, result: Any) -> Attempt:
        times = self.tokenizer(work.language, work.task).timestamp_begin
        last = max((token - times for token in result.tokens), default=0)
        return Attempt(
            tokens=tuple(result.tokens),
            text=result.text,
            said=sum(token < times for token in result.tokens),
            last_time=max(last, 0) * TIMESTAMP_SECONDS,
            avg_logprob=float(result.avg_logprob),
            compression_ratio=float(result.compression_ratio),
            no_speech_prob=float(result.no_speech_prob),
            temperature=work.temperature,
        )

    def _decided(self, work: TorchWork, attempt: Attempt, features: Any) -> WindowText | TorchWork:
        """Return what a window says, or the window again where the next temperature is to be tried."""
        if is_acceptable(attempt, self._options):
            return self._text(work, attempt, features)
        failed = (*work.failed, attempt)
        if work.step + 1 < len(work.decoding.temperatures):
            # A copy: a row would keep the encodings of all the windows.
            return replace(work, step=work.step + 1, failed=failed, encoding=features.clone())
        return self._text(work, replace(best(failed, self._options), temperature=work.temperature), features)

    def _text(self, work: TorchWork, attempt: Attempt, features: Any) -> WindowText:
        found = WindowText(language=work.language, language_probability=work.language_probability, tokens=work.previous)
        if is_silence(attempt, self._options):
            return found
        tokenizer = self.tokenizer(work.language, work.task)
        cuts, rest = cut(attempt.tokens, tokenizer.timestamp_begin, work.duration)
        spoken = segments(work, attempt, cuts, tokenizer, model=self._model, features=features, rules=self._options)
        tokens: tuple[int, ...] = ()
        if attempt.temperature <= self._options.prompt_reset_on_temperature:
            said = [token for segment in spoken for token in segment.tokens]
            tokens = (*work.previous, *said)[-CONTEXT_TOKENS:]
        return replace(found, segments=spoken, rest=rest, tokens=tokens)
