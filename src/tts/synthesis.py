"""Samples of a text whose pieces are spoken one after the other: joined, resampled, with the times of words."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace

import numpy as np

from core.errors import InternalError, InvalidRequest, TextTooLong
from core.worker import Event
from tts.engine import TtsEngine
from tts.joins import joined
from tts.pace import Playback, Rate
from tts.pieces import FEW_CHARS, Pieces
from tts.voice import SpeechOptions, SpokenWord, TimedAudio, Voice
from utils.audio.pcm import Audio, Samples
from utils.audio.resample import Resampler
from utils.text.sentences import Piece

MAX_SECONDS = 12 * 3600
"""Longest answer; the sizes in the header of a WAV at 48 kHz hold no more."""
MAX_PAUSES_SECONDS = 3600
"""Longest sum of the pauses of one answer, which cost an engine nothing but fill disks."""
SOON_SECONDS = 0.3
"""A first clause that takes no longer than this to make may be long."""
FAST = 0.5
"""An engine with a lower real-time factor gains on the listener even with a very short first piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call made ready for the engine: its pieces, its output rate in Hz, and what is left to stretch (`tempo`).

    `volume` is a factor. `pause` is the silence in seconds that is heard between sentences, None the engine's own.
    """

    pieces: Pieces
    voice: Voice
    options: SpeechOptions
    sample_rate: int
    tempo: float
    volume: float = 1.0
    pause: float | None = None

    def check(self) -> None:
        """Raise InvalidRequest for pauses that last too long together."""
        between = len(self.pieces.sentences) - 1
        if self.pause and between * self.pause > MAX_PAUSES_SECONDS:
            longest = MAX_PAUSES_SECONDS * 1000 // between
            raise InvalidRequest(
                f"{between} pauses of that length are longer than {MAX_PAUSES_SECONDS // 60} minutes together; "
                f"for this text at most {longest} are accepted",
                param="pause_between_sentences_ms",
            )


class Speaker:
    """Speaks one job, each piece in a `turn` of its own.

    `rate` is how fast the engine speaks, for engines that make a piece as a whole: how long a piece is depends on it,
    and on how many others are `waiting` for their turns.
    """

    def __init__(
        self,
        engine: TtsEngine,
        job: Job,
        *,
        rate: Rate,
        turn: Callable[[], AbstractContextManager[None]],
        waiting: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._job = job
        self._rate = rate
        self._turn = turn
        self._waiting = waiting
        self._playback = Playback(rate, tempo=job.tempo)
        self._follows = False

    def events(self) -> Iterator[Event]:
        """Yield an `audio` event with signed 16-bit PCM for every chunk; `words` of it are timed in the whole answer.

        Raises TextTooLong when the answer gets longer than MAX_SECONDS.
        """
        job = self._job
        resampler = Resampler(self._engine.sample_rate, job.sample_rate)
        number, spoken, text = 0, 0.0, ""
        while job.pieces:
            with closing(self._spoken(number)) as chunks:
                for text, chunk in chunks:
                    words = chunk.words if isinstance(chunk, TimedAudio) else ()
                    yield from self._audio(number, text, resampler.feed(chunk.samples), _moved(words, spoken))
                    spoken += chunk.duration
                    if spoken / job.tempo > MAX_SECONDS:
                        raise TextTooLong(f"the speech is longer than {MAX_SECONDS // 3600} hours", param="input")
            number += 1
        # What the resampler held back; without one this is empty.
        rest = resampler.feed(np.zeros(0, dtype=np.float32), last=True)
        yield from self._audio(number - 1, text, rest, [])

    def _spoken(self, number: int) -> Generator[tuple[str, Audio], None, None]:
        """Yield the next piece's chunks with its text; an engine that makes them all at once is free before that."""
        with self._turn():
            piece = self._piece(number)
            with closing(self._chunks(self._open(piece))) as made:
                pause = self._pause(piece)
                chunks = joined(made, follows=self._follows, pause=pause)
                self._follows = pause is not None
                if not self._engine.first_chars:
                    for chunk in chunks:
                        yield piece.text, chunk
                    return
                started = time.monotonic()
                whole = list(chunks)
        seconds = sum(chunk.duration for chunk in whole)
        if seconds:
            self._rate.add(time.monotonic() - started, seconds)
        self._playback.add(len(piece.text), seconds)
        for chunk in whole:
            yield piece.text, chunk

    def _piece(self, number: int) -> Piece:
        pieces, waiting = self._job.pieces, self._waiting()
        if number == 0:
            few = FEW_CHARS if self._rate.value * (1 + waiting) < FAST else FEW_CHARS * 4 // 3
            return pieces.first(few, self._rate.chars(SOON_SECONDS))
        if not self._engine.first_chars:
            return pieces.long()
        return pieces.next(self._playback.chars(waiting), shared=waiting > 0)

    def _open(self, piece: Piece) -> str:
        """Return a piece as the engine is given it."""
        is_open = piece.end == "word" and piece.text[-1].isalnum()
        return piece.text + self._engine.open_end if is_open else piece.text

    def _pause(self, piece: Piece) -> float | None:
        """Return the pause behind a piece before time is stretched, None where its end stays as the engine made it."""
        if not self._job.pieces:
            return None
        pauses = {"word": 0.0, "clause": self._engine.clause_pause, "sentence": self._job.pause}
        heard = pauses[piece.end]
        return heard and heard * self._job.tempo

    def _audio(self, number: int, text: str, samples: Samples, words: list[SpokenWord]) -> Iterator[Event]:
        if samples.size or words:
            volume = self._job.volume
            loud = samples if volume == 1.0 else samples * np.float32(volume)
            data = {"piece": number, "text": text} | ({"words": words} if words else {})
            yield Event("audio", data, Audio(loud, self._job.sample_rate).to_s16())

    def _chunks(self, piece: str) -> Generator[Audio, None, None]:
        """Yield what the engine makes of a piece; closing it closes the engine's iterator, where that can be closed."""
        made = self._engine.synthesize(piece, self._job.voice, self._job.options)
        try:
            for chunk in made:
                _check(chunk, self._engine.sample_rate)
                yield chunk
        finally:
            close = getattr(made, "close", None)
            if close is not None:
                close()


def _check(chunk: Audio, sample_rate: int) -> None:
    """Raise InternalError for samples that an engine must not make."""
    samples = chunk.samples
    if samples.dtype != np.float32 or samples.ndim != 1 or chunk.sample_rate != sample_rate:
        made = f"{samples.dtype} of shape {samples.shape} at {chunk.sample_rate} Hz"
        raise InternalError(f"the engine made samples that are {made}, not float32 of shape (n,) at {sample_rate} Hz")
    if not np.isfinite(samples).all():
        raise InternalError("the engine made samples that are not numbers")


def _moved(words: tuple[SpokenWord, ...], seconds: float) -> list[SpokenWord]:
    return [replace(word, start=word.start + seconds, end=word.end + seconds) for word in words]
