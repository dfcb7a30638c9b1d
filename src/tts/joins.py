"""Joins pieces of speech so that nobody hears where: silence goes, a pause that fits comes, nothing clicks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tts.voice import SpokenWord, TimedAudio
from utils.audio.levels import SILENCE_DB, amplitude
from utils.audio.pcm import Audio, Samples

QUIET = amplitude(SILENCE_DB)
"""What is below it at the ends of a piece is silence, which a pause takes the place of."""
FADE_SECONDS = 0.005


def joined(chunks: Iterator[Audio], *, follows: bool, pause: float | None) -> Iterator[Audio]:
    """Yield the chunks of a piece without the silence around it, where it is joined to others.

    `follows`: its beginning continues what was said. `pause`: the seconds of silence that come behind it, however much
    the engine left there; None leaves its end as it is. Words keep their places in the sound.
    """
    if follows:
        chunks = _without_head(chunks)
    return chunks if pause is None else _with_pause(chunks, pause)


def _without_head(chunks: Iterator[Audio]) -> Iterator[Audio]:
    begun = False
    for chunk in chunks:
        if begun:
            yield chunk
            continue
        heard = _heard(chunk)
        if heard.size:
            begun = True
            fade = _fade(chunk)
            start = max(0, int(heard[0]) - len(fade))
            samples = chunk.samples[start:].copy()
            size = min(len(fade), len(samples))
            samples[:size] *= fade[:size]
            yield _cut(chunk, samples, start)
        elif _words(chunk):
            yield _cut(chunk, chunk.samples[:0], len(chunk.samples))


def _with_pause(chunks: Iterator[Audio], seconds: float) -> Iterator[Audio]:
    held: list[Audio] = []  # the last chunk that is heard, and the quiet ones behind it
    for chunk in chunks:
        if _heard(chunk).size:
            yield from held
            held.clear()
        held.append(chunk)
    ends = [_without_tail(chunk) for chunk in held]
    last = max((index for index, chunk in enumerate(ends) if chunk.samples.size or _words(chunk)), default=0)
    for index, chunk in enumerate(ends[: last + 1]):
        silence = np.zeros(round(seconds * chunk.sample_rate) if index == last else 0, dtype=np.float32)
        yield replace(chunk, samples=np.concatenate([chunk.samples, silence]))


def _without_tail(chunk: Audio) -> Audio:
    heard = _heard(chunk)
    fade = _fade(chunk)[::-1]
    end = min(int(heard[-1]) + 1 + len(fade), len(chunk.samples)) if heard.size else 0
    samples = chunk.samples[:end].copy()
    size = min(len(fade), end)
    samples[end - size :] *= fade[len(fade) - size :]
    return _cut(chunk, samples, 0, end)


def _heard(chunk: Audio) -> npt.NDArray[np.intp]:
    return np.flatnonzero(np.abs(chunk.samples) > QUIET)


def _words(chunk: Audio) -> tuple[SpokenWord, ...]:
    return chunk.words if isinstance(chunk, TimedAudio) else ()


def _fade(chunk: Audio) -> Samples:
    return np.linspace(0, 1, round(FADE_SECONDS * chunk.sample_rate), endpoint=False, dtype=np.float32)


def _cut(chunk: Audio, samples: Samples, start: int, end: int | None = None) -> Audio:
    """Return the chunk with other samples, and its words where they are now that it begins at `start`."""
    if not isinstance(chunk, TimedAudio):
        return replace(chunk, samples=samples)
    rate = chunk.sample_rate
    low, high = start / rate, (len(chunk.samples) if end is None else end) / rate
    words = tuple(
        SpokenWord(word.word, min(max(word.start, low), high) - low, min(max(word.end, low), high) - low)
        for word in chunk.words
    )
    return replace(chunk, samples=samples, words=words)
