"""Windows through Whisper: encoded once, then language, text and word times out of the same encoding."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from threading import Semaphore
from typing import Any

import numpy as np

from asr.engine import WindowText
from asr.engines.faster_whisper_guard import Attempt, best, is_acceptable, is_silence, is_suspicious, once, says_twice
from asr.engines.faster_whisper_options import FasterWhisperOptions
from asr.engines.faster_whisper_prompt import CONTEXT_TOKENS
from asr.engines.faster_whisper_segments import SegmentMaker, cut
from asr.engines.faster_whisper_window import (
    FULL_FRAMES,
    TIMESTAMP_SECONDS,
    WhisperWork,
    max_length,
    of_one_length,
    stacked,
    text_limit,
)
from asr.engines.whisper_languages import likeliest
from asr.transcript import LanguageGuess
from core.errors import DeviceOutOfMemory, InsufficientMemory
from utils import memory

LONG_FRAMES = 1500
"""Windows of more frames take much memory while they are encoded."""
LOOP_TOKENS = 8
"""Without timestamps a text does not always know where to end, and begins anew: it may not repeat so many tokens.

One that says all but the last of them twice is not believed: the text of the beam that ended there is taken, or the
window is decoded again with timestamps.
"""
_SURE_OF_LANGUAGE = 0.5
_USUAL_SAMPLES = 5  # the default of `best_of`
# CTranslate2 has one class, RuntimeError, for all that goes wrong: only the text tells a full device from the rest.
_OUT_OF_MEMORY = re.compile(r"out of memory|alloc_failed|failed to allocate", re.IGNORECASE)


class Decoder:
    """Decodes windows with a loaded WhisperModel of faster-whisper; may be used from several threads at once."""

    def __init__(
        self,
        library: Any,
        model: Any,
        options: FasterWhisperOptions,
        *,
        on_cpu: bool,
        slots: int,
        usual_frames: int,
    ) -> None:
        self._library = library
        self._model = model
        self._options = options
        self._on_cpu = on_cpu
        self._usual_frames = usual_frames
        self._long_ones = Semaphore(max(1, slots // 2))
        self._maker = SegmentMaker(model, options)
        self._tokenizer_of = lru_cache(maxsize=None)(self._new_tokenizer)
        self.suppressed = library.get_suppressed_tokens(self.tokenizer("en", "transcribe"), [-1])

    def tokenizer(self, language: str | None, task: str) -> Any:
        """Return the tokenizer of a language and task; it is not to be changed."""
        return self._tokenizer_of(language or "en", task)

    def encode(self, works: Sequence[WhisperWork]) -> Any:
        """Return the encoding of windows of one length, shape (works, frames / 2, size), where the model computes."""
        if self._on_cpu and len(works) > 1:
            # One by one: together they are no faster, and take the memory of all of them.
            return _joined([self.encode([work]) for work in works])
        if len(works) == 1 and works[0].encoding is not None:
            return works[0].encoding
        with foreign_errors(), self._room_for(works[0].frames):
            return self._model.encode(stacked(works))

    @contextmanager
    def _room_for(self, frames: int) -> Iterator[None]:
        """Wait until windows of so many frames may be encoded, and have the memory for them.

        That takes memory by the square of the frames (Whisper base: 130 MB for 3000), so on a CPU half of the slots at
        most do it for long windows at the same time, while the others write text.
        """
        if not self._on_cpu or frames <= LONG_FRAMES:
            yield
            return
        with self._long_ones:
            if frames <= self._usual_frames:
                yield
                return
            # What was freed lies in parts too small for these, and what they leave would be cut up by the next.
            memory.trim()
            try:
                yield
            finally:
                memory.trim()

    def guess_language(self, work: WhisperWork) -> LanguageGuess:
        """Return the language of one window, on a full one if a short one leaves it unsure."""
        guess = self.guess_languages(self.encode([work]), [work.candidates])[0]
        if _is_unsure(work, guess.probability):
            return self.guess_language(replace(work, frames=FULL_FRAMES))
        return guess

    def guess_languages(self, encoding: Any, candidates: Sequence[tuple[str, ...]]) -> list[LanguageGuess]:
        """Return the most probable language of each row; among its candidates the probabilities add up to one."""
        with foreign_errors():
            found = self._model.model.detect_language(encoding)
        return [_guess(row, among) for row, among in zip(found, candidates, strict=True)]

    def decode(self, works: Sequence[WhisperWork]) -> list[WindowText | WhisperWork]:
        """Decode windows with equal keys; a work among the results is to be decoded next."""
        works = of_one_length(works)
        encoding = self.encode(works)
        told = self._with_languages(works, encoding)
        attempts = self._generate(told, encoding)
        decided = [
            replace(work, frames=FULL_FRAMES)
            if _is_unsure(work, told[row].language_probability)
            else self._decide(told[row], attempts[row], row, encoding)
            for row, work in enumerate(works)
        ]
        return self._texts(told, decided, encoding)

    def generate(self, works: Sequence[WhisperWork], encoding: Any, **options: Any) -> Any:
        """Return CTranslate2's results for windows with equal keys whose languages are known."""
        own, first = self._options, works[0]
        if first.temperature > 0:
            search = {
                "beam_size": 1,
                "num_hypotheses": first.decoding.best_of,
                "sampling_topk": 0,
                "sampling_temperature": first.temperature,
            }
        else:
            beam = first.decoding.beam_size
            # For fewer than one hypothesis, or more than the search waits for, CTranslate2 refuses the call.
            patience = max(own.patience, 1 / beam)
            search = {"beam_size": beam, "patience": patience}
            if not first.decoding.timestamps:
                search["num_hypotheses"] = max(1, min(beam, int(beam * patience)))
        told = {
            "length_penalty": own.length_penalty,
            "repetition_penalty": own.repetition_penalty,
            "no_repeat_ngram_size": own.no_repeat_ngram_size or (0 if first.decoding.timestamps else LOOP_TOKENS),
            "max_length": max_length(max(map(text_limit, works)), len(first.context)),
            "return_scores": True,
            "return_no_speech_prob": True,
            "suppress_blank": True,
            "suppress_tokens": self.suppressed,
            "max_initial_timestamp_index": round(own.max_initial_timestamp / TIMESTAMP_SECONDS),
        }
        prompts = [[*work.context, *self._start(work)] for work in works]
        # The samples of a window take memory each for itself: the usual number as much as its encoding.
        sampled = first.frames * first.decoding.best_of // _USUAL_SAMPLES if first.temperature > 0 else 0
        with foreign_errors(), self._room_for(sampled):
            return self._model.model.generate(encoding, prompts, **{**told, **search, **options})

    def _start(self, work: WhisperWork) -> list[int]:
        """Return the tokens that begin a transcript."""
        tokenizer = self.tokenizer(work.language, work.task)
        return [*tokenizer.sot_sequence, *(() if work.decoding.timestamps else (tokenizer.no_timestamps,))]

    def _new_tokenizer(self, language: str, task: str) -> Any:
        multilingual = self._model.model.is_multilingual
        return self._library.Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)

    def _with_languages(self, works: Sequence[WhisperWork], encoding: Any) -> list[WhisperWork]:
        if all(work.language for work in works):
            return list(works)
        guesses = self.guess_languages(encoding, [work.candidates for work in works])
        return [
            work if work.language else replace(work, language=guess.language, language_probability=guess.probability)
            for work, guess in zip(works, guesses, strict=True)
        ]

    def _generate(self, works: Sequence[WhisperWork], encoding: Any) -> list[Attempt]:
        results = self.generate(works, encoding)
        return [self._attempt(work, result) for work, result in zip(works, results, strict=True)]

    def _attempt(self, work: WhisperWork, result: Any) -> Attempt:
        tokenizer = self.tokenizer(work.language, work.task)
        # The score is the sum of the log-probabilities, that of the end included, over a power of the length.
        found = [
            (tuple(tokens), score * len(tokens) ** self._options.length_penalty)
            for tokens, score in zip(result.sequences_ids, result.scores, strict=True)
        ]
        tokens, total = found[0] if work.decoding.timestamps else once(found, LOOP_TOKENS - 1, work.duration)
        text = tokenizer.decode(tokens).strip()
        last = max((token - tokenizer.timestamp_begin for token in tokens), default=0)
        return Attempt(
            tokens=tokens,
            text=text,
            said=sum(token < tokenizer.timestamp_begin for token in tokens),
            last_time=max(last, 0) * TIMESTAMP_SECONDS,
            avg_logprob=total / (len(tokens) + 1),
            compression_ratio=self._library.get_compression_ratio(text),
            no_speech_prob=result.no_speech_prob,
            temperature=work.temperature,
        )

    def _decide(self, work: WhisperWork, attempt: Attempt, row: int, encoding: Any) -> Attempt | WhisperWork:
        """Return the text to keep, or what is to be done for a better one."""
        timed = work.decoding.timestamps
        if work.frames < FULL_FRAMES or not timed:
            loops = not timed and says_twice(attempt.tokens, LOOP_TOKENS - 1)
            if not loops and not is_suspicious(attempt, work.duration, text_limit(work), self._options):
                return attempt
            if not timed:
                how = replace(work.decoding, timestamps=True)
                return replace(work, decoding=how, encoding=self._kept(encoding, row))
            return replace(work, frames=FULL_FRAMES, encoding=None)
        if is_acceptable(attempt, self._options):
            return attempt
        failed = (*work.failed, attempt)
        if work.step + 1 < len(work.decoding.temperatures):
            return replace(work, step=work.step + 1, failed=failed, encoding=self._kept(encoding, row))
        return replace(best(failed, self._options), temperature=work.temperature)

    def _kept(self, encoding: Any, row: int) -> Any:
        """Return the encoding of one window for its next attempt, None where encoding it again is the cheaper way."""
        return _row(encoding, row) if self._on_cpu else None

    def _texts(
        self, works: Sequence[WhisperWork], decided: Sequence[Attempt | WhisperWork], encoding: Any
    ) -> list[WindowText | WhisperWork]:
        alignments = self._align(works, decided, encoding) if works[0].decoding.aligned else [None] * len(works)
        return [
            found if isinstance(found, WhisperWork) else self._text(work, found, alignment)
            for work, found, alignment in zip(works, decided, alignments, strict=True)
        ]

    def _align(
        self, works: Sequence[WhisperWork], decided: Sequence[Attempt | WhisperWork], encoding: Any
    ) -> list[Any]:
        """Align the texts that are kept, in as many calls as there are languages, and return what came of each row."""
        found: list[Any] = [None] * len(works)
        frames = [work.speech_frames for work in works]
        tokens = []
        for work, attempt in zip(works, decided, strict=True):
            end = self.tokenizer(work.language, work.task).eot
            kept = attempt.tokens if isinstance(attempt, Attempt) else ()
            tokens.append([token for token in kept if token < end])
        for language, task in dict.fromkeys((work.language, work.task) for work in works):
            same = [(work.language, work.task) == (language, task) for work in works]
            rows = [row for row in range(len(works)) if same[row] and tokens[row]]
            if rows:
                start = self.tokenizer(language, task).sot_sequence
                with foreign_errors():
                    aligned = self._model.model.align(encoding, start, tokens, frames, median_filter_width=7)
                for row in rows:
                    found[row] = aligned[row]
        return found

    def _text(self, work: WhisperWork, attempt: Attempt, alignment: Any) -> WindowText:
        found = WindowText(language=work.language, language_probability=work.language_probability, tokens=work.previous)
        if is_silence(attempt, self._options):
            return found
        tokenizer = self.tokenizer(work.language, work.task)
        cuts, rest = cut(attempt.tokens, tokenizer.timestamp_begin, work.duration)
        segments = self._maker.segments(work, attempt, cuts, tokenizer, alignment=alignment)
        tokens: tuple[int, ...] = ()
        if attempt.temperature <= self._options.prompt_reset_on_temperature:
            said = [token for segment in segments for token in segment.tokens]
            tokens = (*work.previous, *said)[-CONTEXT_TOKENS:]
        return replace(found, segments=segments, rest=rest, tokens=tokens)


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Turn the library's running out of memory into our own error."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            full = DeviceOutOfMemory if "cuda" in str(error).lower() else InsufficientMemory
            raise full("the device has no memory left for this request") from error
        raise


def _is_unsure(work: WhisperWork, probability: float) -> bool:
    """Tell whether the language found on a short window is to be looked for on a full one."""
    return work.language is None and work.frames < FULL_FRAMES and probability < _SURE_OF_LANGUAGE


def _guess(found: Sequence[tuple[str, float]], candidates: tuple[str, ...]) -> LanguageGuess:
    return likeliest({token.strip("<|>"): float(probability) for token, probability in found}, candidates)


def _joined(encodings: Sequence[Any]) -> Any:
    """Return encodings in main memory as the rows of one."""
    return type(encodings[0]).from_array(np.concatenate([np.array(encoding) for encoding in encodings]))


def _row(encoding: Any, row: int) -> Any:
    """Return one row of an encoding in main memory as an encoding of its own."""
    if encoding.shape[0] == 1:
        return encoding
    # A copy: a part of the array would keep all of it.
    return type(encoding).from_array(np.array(encoding)[row : row + 1].copy())
