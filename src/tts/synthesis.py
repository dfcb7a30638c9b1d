"""Samples of a text whose pieces are spoken one after the other: resampled, with pauses, with the times of words."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from core.errors import InternalError, InvalidRequest, TextTooLong
from core.worker import Event
from tts.engine import TtsEngine
from tts.voice import SpeechOptions, SpokenWord, TimedAudio, Voice
from utils.audio.pcm import Audio, Samples
from utils.audio.resample import Resampler

MAX_SECONDS = 12 * 3600
"""Longest answer; the sizes in the header of a WAV at 48 kHz hold no more."""
MAX_PAUSES_SECONDS = 3600
"""Longest sum of the pauses of one answer, which cost an engine nothing but fill disks."""
QUIET = 10 ** (-50 / 20)
"""What is below it at the end of a sentence is silence, which a pause takes the place of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call made ready for the engine: its pieces, its output rate in Hz, and what is left to stretch (`tempo`).

    `volume` is a factor. `pause` is the silence in seconds behind each piece in `sentence_ends`, None the engine's own.
    """

    pieces: list[str]
    voice: Voice
    options: SpeechOptions
    sample_rate: int
    tempo: float
    volume: float = 1.0
    pause: float | None = None
    sentence_ends: frozenset[int] = frozenset()

    def check(self) -> None:
        """Raise InvalidRequest for pauses that last too long together."""
        between = len(self.sentence_ends) - 1
        if self.pause and between * self.pause > MAX_PAUSES_SECONDS:
            longest = MAX_PAUSES_SECONDS * 1000 // between
            raise InvalidRequest(
                f"{between} pauses of that length are longer than {MAX_PAUSES_SECONDS // 60} minutes together; "
                f"for this text at most {longest} are accepted",
                param="pause_between_sentences_ms",
            )


def speak(engine: TtsEngine, job: Job) -> Iterator[Event]:
    """Yield an `audio` event with signed 16-bit PCM for every chunk; `words` of it are timed in the whole answer.

    Raises TextTooLong when the answer gets longer than MAX_SECONDS.
    """
    resampler = Resampler(engine.sample_rate, job.sample_rate)
    spoken = 0.0
    last = len(job.pieces) - 1
    for number, piece in enumerate(job.pieces):
        pause = job.pause if number in job.sentence_ends and number < last else None
        with closing(_chunks(engine, piece, job)) as chunks:
            for chunk in chunks if pause is None else _with_pause(chunks, pause):
                words = chunk.words if isinstance(chunk, TimedAudio) else ()
                yield from _audio(job, number, resampler.feed(chunk.samples), _moved(words, spoken))
                spoken += chunk.duration
                if spoken / job.tempo > MAX_SECONDS:
                    raise TextTooLong(f"the speech is longer than {MAX_SECONDS // 3600} hours", param="input")
    # What the resampler held back; without one this is empty.
    yield from _audio(job, last, resampler.feed(np.zeros(0, dtype=np.float32), last=True), [])


def _audio(job: Job, number: int, samples: Samples, words: list[SpokenWord]) -> Iterator[Event]:
    if samples.size or words:
        loud = samples if job.volume == 1.0 else samples * np.float32(job.volume)
        data = {"piece": number, "text": job.pieces[number]} | ({"words": words} if words else {})
        yield Event("audio", data, Audio(loud, job.sample_rate).to_s16())


def _moved(words: tuple[SpokenWord, ...], seconds: float) -> list[SpokenWord]:
    return [replace(word, start=word.start + seconds, end=word.end + seconds) for word in words]


def _with_pause(chunks: Iterator[Audio], seconds: float) -> Iterator[Audio]:
    """Yield the chunks with a pause of exactly this length at their end, whatever silence the engine left there."""
    held: Audio | None = None
    for chunk in chunks:
        if held is not None:
            yield held
        held = chunk
    if held is not None:
        (heard,) = np.nonzero(np.abs(held.samples) > QUIET)
        end = int(heard[-1]) + 1 if heard.size else 0
        silence = np.zeros(round(seconds * held.sample_rate), dtype=np.float32)
        if isinstance(held, TimedAudio):
            held = replace(held, words=tuple(_within(word, end / held.sample_rate) for word in held.words))
        yield replace(held, samples=np.concatenate([held.samples[:end], silence]))


def _within(word: SpokenWord, end: float) -> SpokenWord:
    return replace(word, start=min(word.start, end), end=min(word.end, end))


def _chunks(engine: TtsEngine, piece: str, job: Job) -> Generator[Audio, None, None]:
    """Yield what the engine makes of a piece; closing it closes the engine's iterator, where that can be closed."""
    made = engine.synthesize(piece, job.voice, job.options)
    try:
        for chunk in made:
            if not np.isfinite(chunk.samples).all():
                raise InternalError("the engine made samples that are not numbers")
            yield chunk
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()
