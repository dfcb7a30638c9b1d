"""Audio that comes in blocks becomes windows of speech: without the silence, cut at pauses, in flat memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from asr.transcript import VadOptions
from utils.audio import vad
from utils.audio.pcm import Audio, Samples
from utils.audio.spans import Span

WINDOW_SECONDS = 30.0
EARLY_SECONDS = (6.0, 12.0)
"""A first window that shall be ready early ends in between."""
EARLY_FROM_SECONDS = 20.0
"""Less speech is decoded as soon in one window."""
PATIENCE_SECONDS = 30.0
"""Speech before so much silence is not kept waiting for more."""
_RATE = vad.SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Window:
    """Speech at 16 kHz: `audio` is the `spans` of the original, at least one, joined."""

    audio: Audio
    spans: tuple[Span, ...]

    def after(self, seconds: float) -> Window:
        """Return what comes after the first `seconds`, which are less than all of it."""
        spans, skip = [], seconds
        for span in self.spans:
            if skip < span.duration:
                spans.append(Span(span.start + skip, span.end))
            skip = max(skip - span.duration, 0.0)
        rate = self.audio.sample_rate
        return Window(Audio(self.audio.samples[round(seconds * rate) :], rate), tuple(spans))


def windows(
    blocks: Iterable[Samples], options: VadOptions | None, *, seconds: float = WINDOW_SECONDS, early: bool = False
) -> Iterator[Window]:
    """Yield windows of at most `seconds` of speech, in order; every sample of speech is in exactly one.

    The samples are finite and at 16 kHz. Without `options` all is speech. A full window ends where the last span in its
    second half ends, else at the best pause in its last third; with `early` the first one ends in EARLY_SECONDS. Every
    window ends before silence of PATIENCE_SECONDS.
    """
    heard = listen(blocks, options, seconds=seconds, early=early)
    return (window for window in heard if not isinstance(window, float))


def listen(
    blocks: Iterable[Samples], options: VadOptions | None, *, seconds: float = WINDOW_SECONDS, early: bool = False
) -> Iterator[Window | float]:
    """Yield what `windows` does, and after each block the second before which there is no speech that is still to come.

    So whoever listens can do something else between two blocks of silence.
    """
    joined = _Joined()
    usual = seconds, (seconds * 2 / 3, seconds)
    full, least = (EARLY_FROM_SECONDS, EARLY_SECONDS) if early else usual
    for start, samples, ends in _speech(blocks, options):
        if joined.length and start - joined.stop >= PATIENCE_SECONDS * _RATE:
            yield joined.cut(joined.length)
            full, least = usual
        joined.add(start, samples, ends=ends)
        while joined.length > full * _RATE:
            yield joined.cut(joined.pause(*least))
            full, least = usual
        if not len(samples):
            yield (joined.start if joined.length else start) / _RATE
    if joined.length:
        yield joined.cut(joined.length)


class _Joined:
    """Speech that is in no window yet."""

    def __init__(self) -> None:
        self._samples: Samples = np.zeros(0, dtype=np.float32)
        self._spans: list[tuple[int, int]] = []  # samples of the original
        self._ends: list[int] = []  # where spans end in what is joined

    @property
    def length(self) -> int:
        """Samples."""
        return len(self._samples)

    @property
    def start(self) -> int:
        """The sample of the original at which it begins; there must be some."""
        return self._spans[0][0]

    @property
    def stop(self) -> int:
        """The sample of the original at which it ends; there must be some."""
        return self._spans[-1][1]

    def add(self, start: int, samples: Samples, *, ends: bool) -> None:
        """Take the speech that begins at sample `start` of the original, and whether its span ends with it."""
        if len(samples):
            self._samples = np.concatenate([self._samples, samples])
            goes_on = self._spans and self._spans[-1][1] == start
            self._spans.append((self._spans.pop()[0] if goes_on else start, start + len(samples)))
        if ends:
            self._ends.append(self.length)

    def pause(self, least: float, most: float) -> int:
        """Return the sample where a cut hurts least: the end of a span up to `most` seconds, else from `least` on.

        Such an end may lie a quarter of the longest window before `least`.
        """
        first, last = round(least * _RATE), round(most * _RATE)
        if ends := [end for end in self._ends if least * 3 / 4 * _RATE <= end <= last]:
            return ends[-1]
        found = vad.find_silence(Audio(self._samples[first:last], _RATE))
        return min(max(first + round(found * _RATE), first, 1), last)

    def cut(self, at: int) -> Window:
        """Take out the first `at` samples."""
        taken, rest = self._samples[:at], self._samples[at:].copy()
        spans: list[tuple[int, int]] = []
        left: list[tuple[int, int]] = []
        room = at
        for start, stop in self._spans:
            middle = min(start + room, stop)
            spans += [(start, middle)] if middle > start else []
            left += [(middle, stop)] if stop > middle else []
            room -= middle - start
        self._samples, self._spans = rest, left
        self._ends = [end - at for end in self._ends if end > at]
        return Window(Audio(taken, _RATE), tuple(Span(start / _RATE, stop / _RATE) for start, stop in spans))


def _speech(blocks: Iterable[Samples], options: VadOptions | None) -> Iterator[tuple[int, Samples, bool]]:
    """Yield speech as it is found: its first sample in the original, its samples, and whether the span ends there.

    After each block comes speech without samples: no more of it begins before the sample where that does.
    """
    if options is None:
        at = 0
        for block in blocks:
            yield at, block, False
            at += len(block)
            yield at, block[:0], False
        return
    finder = vad.SpeechFinder(
        threshold=options.threshold,
        min_speech_ms=options.min_speech_ms,
        min_silence_ms=options.min_silence_ms,
        padding_ms=options.speech_pad_ms,
    )
    held, first = np.zeros(0, dtype=np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        for start, stop, ends in finder.feed(block):
            yield start, held[start - first : stop - first], ends
        held, first = held[finder.settled - first :], finder.settled
        yield first, held[:0], False
    for start, stop, ends in finder.feed(held[:0], last=True):
        yield start, held[start - first : stop - first], ends
