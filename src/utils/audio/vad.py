"""Where somebody speaks: Silero VAD as faster-whisper carries it. For worker processes: loaded when first used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from utils.audio.pcm import Audio, Samples
from utils.audio.spans import Span

SAMPLE_RATE = 16_000
_FRAME = 512
"""Samples that the model gives one probability for."""
_CONTEXT = 64
"""Samples before a frame that the model sees too."""
_BATCH = 512
"""Most frames in one run of the model, for the sake of memory."""
_STATE_SHAPE = (1, 1, 128)
_HYSTERESIS = 0.15
_MIN_THRESHOLD = 0.01
_SHORT_PAUSE_MS = 100
_QUIET_SECONDS = 0.1


class Stretch(NamedTuple):
    """Samples [start, stop) of speech, perhaps none; unless it `ends` here, the next stretch goes on with the span."""

    start: int
    stop: int
    ends: bool


class SpeechFinder:
    """Finds the speech in a stream of 16 kHz samples, fed in blocks of any size.

    Speech is told as soon as it is known to be part of a span, which takes up to `min_speech_ms`; its end is told when
    `min_silence_ms` and twice the padding have gone by. Gaps below `min_silence_ms` do not split, spans that are not
    longer than `min_speech_ms` are dropped. The samples must be at 16 kHz and finite.
    """

    def __init__(
        self, *, threshold: float = 0.5, min_speech_ms: int = 0, min_silence_ms: int = 2000, padding_ms: int = 400
    ) -> None:
        self._model = _Model()
        self._threshold = threshold
        self._low = max(threshold - _HYSTERESIS, _MIN_THRESHOLD)
        self._min_speech = min_speech_ms * SAMPLE_RATE // 1000
        self._min_silence = min_silence_ms * SAMPLE_RATE // 1000
        self._padding = padding_ms * SAMPLE_RATE // 1000
        self._at = 0  # where the next frame begins
        self._start: int | None = None  # where the speech began that goes on
        self._silence: int | None = None  # where the silence began that may end it
        self._ended: int | None = None  # where the speech before it ended, while its padding is not known
        self._told: int | None = None  # how much has been told of the span that goes on or of the one that has ended

    @property
    def settled(self) -> int:
        """The sample before which no stretch begins that is still to come."""
        if self._told is not None:
            return self._told
        return max((self._at if self._start is None else self._start) - self._padding, 0)

    def feed(self, samples: Samples, *, last: bool = False) -> Iterator[Stretch]:
        """Take the next samples, shape (n,), and yield what is known to be speech by now; `last` ends the stream."""
        for probability in self._model.feed(samples, last=last):
            yield from self._step(probability)
        yield from self._finish(self._model.length) if last else self._tell()

    def _step(self, probability: float) -> Iterator[Stretch]:
        frame, self._at = self._at, self._at + _FRAME
        if probability >= self._threshold:
            self._silence = None
            self._start = frame if self._start is None else self._start
        elif probability < self._low and self._start is not None:
            self._silence = frame if self._silence is None else self._silence
            if frame - self._silence >= self._min_silence:
                yield from self._end(self._start, self._silence)

    def _end(self, start: int, end: int) -> Iterator[Stretch]:
        """End the speech that goes on; forget it if it was too short."""
        if end - start > self._min_speech:
            yield from self._open(start)
            self._ended = end
        self._start = self._silence = None

    def _open(self, start: int) -> Iterator[Stretch]:
        """Let the speech that goes on be a span, if it is none yet; now the padding of the one before is known."""
        padding = self._padding
        if self._ended is not None:
            padding = min((start - self._ended) // 2, padding)
            yield from self._close(self._ended + padding)
        if self._told is None:
            self._told = max(start - padding, 0)

    def _close(self, stop: int) -> Iterator[Stretch]:
        """Tell the rest of the span that has ended."""
        assert self._told is not None  # noqa: S101 - whatever ended was opened
        yield Stretch(self._told, stop, ends=True)
        self._told = self._ended = None

    def _tell(self) -> Iterator[Stretch]:
        """Tell what is known of the span that goes on, or the end of the one before."""
        start = self._at if self._start is None else self._start
        known = self._at if self._silence is None else self._silence
        if known - start > self._min_speech:
            yield from self._open(start)
            assert self._told is not None  # noqa: S101 - opened
            if known > self._told:
                yield Stretch(self._told, known, ends=False)
                self._told = known
        elif self._ended is not None and start - self._ended >= 2 * self._padding:
            yield from self._close(self._ended + self._padding)

    def _finish(self, length: int) -> Iterator[Stretch]:
        if self._start is not None:
            yield from self._end(self._start, length)
        if self._ended is not None:
            yield from self._close(min(self._ended + self._padding, length))


class _Model:
    """The probabilities of speech in a stream, frame by frame; as one run over the whole gives them."""

    def __init__(self) -> None:
        from faster_whisper.vad import get_vad_model  # noqa: PLC0415

        self._session: Any = get_vad_model().session
        self._state = [np.zeros(_STATE_SHAPE, dtype=np.float32) for _ in range(2)]
        self._rest = np.zeros(_CONTEXT, dtype=np.float32)  # samples of no whole frame, the context before them
        self.length = 0
        """Samples so far."""

    def feed(self, samples: Samples, *, last: bool) -> Iterator[float]:
        """Take the next samples and yield the probabilities of all frames that are complete; all with `last`."""
        self.length += len(samples)
        parts = [self._rest, samples]
        if last:
            parts.append(np.zeros(_FRAME - self.length % _FRAME, dtype=np.float32))
        joined = np.concatenate(parts)
        if last:
            joined[-_CONTEXT:] = 0  # as the whole-file function of faster-whisper does
        while (count := min((len(joined) - _CONTEXT) // _FRAME, _BATCH)) > 0:
            yield from self._run(joined[: _CONTEXT + count * _FRAME])
            joined = joined[count * _FRAME :]
        self._rest = joined.copy()

    def _run(self, samples: Samples) -> list[float]:
        frames = np.lib.stride_tricks.sliding_window_view(samples, _CONTEXT + _FRAME)[::_FRAME]
        inputs = {"input": np.ascontiguousarray(frames), "h": self._state[0], "c": self._state[1]}
        found, *self._state = self._session.run(None, inputs)
        probabilities: list[float] = found.reshape(-1).tolist()
        return probabilities


def speech(
    audio: Audio,
    *,
    threshold: float = 0.5,
    min_speech_ms: int = 0,
    min_silence_ms: int = 2000,
    padding_ms: int = 400,
) -> list[Span]:
    """Return the spans with speech, in order and apart; gaps below `min_silence_ms` do not split.

    The audio must be at 16 kHz. Safe to call from many threads.
    """
    if audio.sample_rate != SAMPLE_RATE:
        raise ValueError(f"the VAD works at {SAMPLE_RATE} Hz, not at {audio.sample_rate}")
    if not len(audio.samples):
        return []
    finder = SpeechFinder(
        threshold=threshold, min_speech_ms=min_speech_ms, min_silence_ms=min_silence_ms, padding_ms=padding_ms
    )
    # Fed at once, every span is told whole.
    return [Span(start / SAMPLE_RATE, stop / SAMPLE_RATE) for start, stop, _ in finder.feed(audio.samples, last=True)]


def find_silence(audio: Audio) -> float:
    """Return the second at which cutting this audio hurts least.

    That is the middle of the longest pause between words, else of the quietest tenth of a second.
    """
    spans = speech(audio, min_silence_ms=_SHORT_PAUSE_MS, padding_ms=0)
    edges = [0.0, *(edge for span in spans for edge in (span.start, span.end)), audio.duration]
    pauses = [Span(*edges[i : i + 2]) for i in range(0, len(edges), 2)]
    longest = max(pauses, key=lambda pause: pause.duration)
    if longest.duration >= _SHORT_PAUSE_MS / 1000:
        return (longest.start + longest.end) / 2
    return _quietest(audio)


def _quietest(audio: Audio) -> float:
    size = round(_QUIET_SECONDS * audio.sample_rate)
    count = len(audio.samples) // size
    if not count:
        return audio.duration / 2
    blocks = audio.samples[: count * size].reshape(count, size)
    energy = np.einsum("ij,ij->i", blocks, blocks)
    return (int(energy.argmin()) + 0.5) * _QUIET_SECONDS
