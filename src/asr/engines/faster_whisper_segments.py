"""From the tokens of a window to segments: cut at the timestamps, timed word by word where that is wanted."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from asr.engines.faster_whisper_guard import Attempt, is_speech
from asr.engines.faster_whisper_options import FasterWhisperOptions
from asr.engines.faster_whisper_scores import token_logprobs
from asr.engines.faster_whisper_window import TIMESTAMP_SECONDS, WhisperWork
from asr.transcript import Segment, Word, spread_words

_LEAST_REST_SECONDS = 1.0
_LEAST_STEP_SECONDS = 0.2  # a window of 30 s has come to its end after 150 of them
_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - faster-whisper's default


@dataclass(slots=True)
class Cut:
    """Tokens between two timestamps, which are among them; times are seconds from the window's start."""

    start: float
    end: float
    tokens: list[int]


def cut(tokens: Sequence[int], timestamp_begin: int, duration: float) -> tuple[list[Cut], float | None]:
    """Cut tokens where one timestamp follows another; return also the second from which on the text is missing.

    After a text that ends in a single timestamp there is no speech. One that ends in two, or in none after two, has
    begun another segment that is not there, or not whole: it is left to the next window, unless little is left.
    """
    is_time = [token >= timestamp_begin for token in tokens]
    seconds = [max(token - timestamp_begin, 0) * TIMESTAMP_SECONDS for token in tokens]
    edges = [0, *(at for at in range(1, len(tokens)) if is_time[at] and is_time[at - 1])]
    if len(edges) == 1:
        return [Cut(0.0, max(seconds, default=0.0) or duration, list(tokens))], None
    found = [Cut(seconds[start], seconds[end - 1], list(tokens[start:end])) for start, end in pairwise(edges)]
    last = edges[-1]
    reached = seconds[last - 1]
    if is_time[-1] and not is_time[-2]:
        return [*found, Cut(seconds[last], seconds[-1], list(tokens[last:]))], None
    if duration - reached > _LEAST_REST_SECONDS:
        return found, max(reached, _LEAST_STEP_SECONDS)
    return [*found, Cut(reached, max(duration, reached + TIMESTAMP_SECONDS), list(tokens[last:]))], None


class SegmentMaker:
    """Makes segments the way faster-whisper does."""

    def __init__(self, model: Any, options: FasterWhisperOptions) -> None:
        self._model = model
        self._options = options

    def segments(
        self, work: WhisperWork, attempt: Attempt, cuts: Sequence[Cut], tokenizer: Any, *, alignment: Any = None
    ) -> tuple[Segment, ...]:
        """Return what was said in a window; `alignment` is what CTranslate2 made of its text, None: not aligned."""
        words = self._words(cuts, tokenizer, alignment) if alignment else [()] * len(cuts)
        found: list[Segment] = []
        scored = 0
        for part, timed in zip(cuts, words, strict=True):
            tokens = [token for token in part.tokens if token < tokenizer.eot]
            scores = alignment.text_token_probs[scored : scored + len(tokens)] if alignment else ()
            scored += len(tokens)
            logprobs = token_logprobs(tokenizer.tokenizer, tokens, scores) if work.decoding.logprobs else ()
            segment = replace(
                written(part, attempt, tokenizer.decode(tokens)), id=len(found), words=timed, logprobs=logprobs
            )
            if part.start < part.end and is_speech(segment, self._options):
                found.append(placed(segment, work.duration, aligned=alignment is not None, words=work.decoding.words))
        return tuple(found)

    def _words(self, cuts: Sequence[Cut], tokenizer: Any, alignment: Any) -> list[tuple[Word, ...]]:
        """Return the words of each cut by faster-whisper's own rules."""
        told = copy.copy(self._model)  # shares the weights
        told.model = SimpleNamespace(align=lambda *_, **__: [alignment])
        parts: list[dict[str, Any]] = [
            {"seek": 0, "start": part.start, "end": part.end, "tokens": part.tokens} for part in cuts
        ]
        told.add_word_timestamps([parts], tokenizer, None, 0, _PREPENDED, _APPENDED, last_speech_timestamp=0.0)
        return [tuple(map(_word, part["words"])) for part in parts]


def written(part: Cut, attempt: Attempt, text: str) -> Segment:
    """Return the segment that a cut of an attempt's tokens is, without words and log-probabilities."""
    return Segment(
        start=part.start,
        end=part.end,
        text=text,
        tokens=tuple(part.tokens),
        temperature=attempt.temperature,
        avg_logprob=attempt.avg_logprob,
        compression_ratio=attempt.compression_ratio,
        no_speech_prob=attempt.no_speech_prob,
    )


def placed(segment: Segment, duration: float, *, aligned: bool, words: bool) -> Segment:
    """Return a segment with times inside its window, those of its first and last word where it was aligned."""
    start, end = min(segment.start, duration), min(segment.end, duration)
    timed = segment.words
    if aligned:
        if "".join(word.word for word in timed) != segment.text:  # the alignment gave up on this text
            timed = spread_words(segment.text, start, end)
        timed = tuple(replace(word, start=min(word.start, duration), end=min(word.end, duration)) for word in timed)
        start, end = timed[0].start, timed[-1].end
    return replace(segment, start=start, end=end, words=timed if words else ())


def _word(found: dict[str, Any]) -> Word:
    return Word(found["word"], float(found["start"]), float(found["end"]), float(found["probability"]))
