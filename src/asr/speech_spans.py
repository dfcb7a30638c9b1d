"""Where somebody speaks in a file, told span by span. For worker processes, as utils.audio.vad is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from asr.pieces import SEARCH_SECONDS, end_of_piece
from asr.transcript import VadOptions
from utils.audio import vad
from utils.audio.pcm import PcmFile, Samples
from utils.audio.spans import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanOptions:
    """What counts as speech, and how many seconds a span may last at most; None: any number."""

    vad: VadOptions = field(default_factory=VadOptions)
    max_seconds: float | None = None


def speech_spans(pcm: PcmFile, blocks: Iterable[Samples], options: SpanOptions) -> Iterator[list[Span]]:
    """Yield the spans with speech after each block of a file, in order and apart; most of the time there are none.

    The `blocks` are the whole file at 16 kHz. Longer spans than `max_seconds` are cut at pauses, where the parts touch.
    """
    begun: int | None = None
    for stretches in _heard(blocks, options.vad):
        found = []
        for start, stop, ends in stretches:
            begun = start if begun is None else begun
            if ends:
                found.append(_span(begun, stop, pcm.duration))
                begun = None
        yield [part for span in found for part in _cut(span, pcm, options.max_seconds)]


def _heard(blocks: Iterable[Samples], options: VadOptions) -> Iterator[list[vad.Stretch]]:
    finder = vad.SpeechFinder(
        threshold=options.threshold,
        min_speech_ms=options.min_speech_ms,
        min_silence_ms=options.min_silence_ms,
        padding_ms=options.speech_pad_ms,
    )
    for block in blocks:
        yield list(finder.feed(block))
    yield list(finder.feed(np.zeros(0, dtype=np.float32), last=True))


def _span(start: int, stop: int, duration: float) -> Span:
    """Return samples [start, stop) in seconds; resampled audio may be a little longer than the file."""
    return Span(*(min(at / vad.SAMPLE_RATE, duration) for at in (start, stop)))


def _cut(span: Span, pcm: PcmFile, seconds: float | None) -> Iterator[Span]:
    if seconds is None:
        yield span
        return
    rate = pcm.sample_rate
    start, end, most = round(span.start * rate), round(span.end * rate), round(seconds * rate)
    while end - start > most:
        stop = end_of_piece(
            pcm,
            start,
            sample_rate=vad.SAMPLE_RATE,
            find_silence=vad.find_silence,
            seconds=seconds,
            search_seconds=min(SEARCH_SECONDS, seconds / 2),
        )
        yield Span(start / rate, stop / rate)
        start = stop
    yield Span(start / rate, span.end)
