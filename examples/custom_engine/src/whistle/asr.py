"""Whistled letters to text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from pydantic import Field
from voice_stack import (
    AsrEngine,
    Audio,
    EngineOptions,
    InvalidAudio,
    Segment,
    TranscribeOptions,
    Transcription,
    UnsupportedParameter,
    Word,
)

from whistle.alphabet import Tone, tones

WORD_GAP_IN_TONES = 1.5


class ReaderOptions(EngineOptions):
    """Set with ASR_ENGINE_OPTIONS__THRESHOLD=0.1, or in `options` of a model in models.toml."""

    threshold: float = Field(default=0.05, gt=0, lt=1, description="Loudness from which on a sound is a tone.")


class WhistleReader(AsrEngine):
    """Reads the letters of both whistlers, one segment per word."""

    Options = ReaderOptions
    options: ReaderOptions
    languages = ("en",)
    licence = "MIT"

    def load(self) -> None:
        """There is nothing to load."""

    def transcribe(self, audio: Audio, options: TranscribeOptions) -> Transcription:
        """Return the words while they are read. Raises UnsupportedParameter, InvalidAudio."""
        _refuse_what_is_not_supported(options)
        if audio.samples.ndim != 1 or not np.isfinite(audio.samples).all():
            raise InvalidAudio("the audio holds samples that are not finite numbers", param="file")
        found = list(tones(audio.samples, self.options.threshold))
        language = options.language or ("en" if found else None)
        return Transcription(language, audio.duration, _segments(found, options), 1.0 if language else 0.0)


def _segments(found: Iterable[Tone], options: TranscribeOptions) -> Iterator[Segment]:
    for word in _words(found):
        words = (word,) if options.word_timestamps else ()
        yield Segment(start=word.start, end=word.end, text=word.word, words=words)


def _words(found: Iterable[Tone]) -> Iterator[Word]:
    """Join letters whose distance is short beside their length: so it does not matter how fast they are whistled."""
    word: list[Tone] = []
    for tone in found:
        if word and tone.start - word[-1].end > WORD_GAP_IN_TONES * (word[-1].end - word[-1].start):
            yield _word(word)
            word = []
        word.append(tone)
    if word:
        yield _word(word)


def _word(letters: list[Tone]) -> Word:
    return Word(" " + "".join(tone.letter for tone in letters), letters[0].start, letters[-1].end)


def _refuse_what_is_not_supported(options: TranscribeOptions) -> None:
    """Never ignore an option: the client would believe that it had an effect."""
    if options.language not in {None, "en"}:
        raise UnsupportedParameter("whistled letters are read as they are, in English", param="language")
    if options.task != "transcribe":
        raise UnsupportedParameter("whistle does not translate", param="task")
    for name in ("prompt", "hotwords", "languages", "beam_size", "best_of"):
        if getattr(options, name):
            raise UnsupportedParameter(f"whistle has no {name}", param=name)
