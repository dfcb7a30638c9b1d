"""Words and their times from an engine that knows how long each of its phonemes lasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tts.voice import TimedAudio
from tts.words import place, spread, words_of
from utils.audio.pcm import Audio


@dataclass(frozen=True, slots=True)
class Symbol:
    """A phoneme, a blank or a punctuation mark as it was spoken, in seconds from the start of the audio."""

    text: str
    start: float
    end: float


def timed(audio: Audio, text: str, symbols: Sequence[Symbol], phonemes: Callable[[str], str]) -> TimedAudio:
    """Return the audio with the words of `text`, which it speaks with these symbols.

    Blanks among the symbols are taken for the gaps between words. Where there are not as many as in the text, because
    a number is several words or espeak-ng joined two, `phonemes` tells how each word sounds alone.
    """
    words = words_of(text)
    groups = _groups(symbols)
    if len(groups) == len(words):
        keys = ["".join(each.text for each in group) for group in groups]
    else:
        keys = [_sounds(phonemes(word)) for word in words]
    spoken = [each for group in groups for each in group]
    heard = "".join(each.text for each in spoken)
    spans = [(each.start, each.end) for each in spoken for _ in each.text]
    found = place(words, keys, heard, spans) or spread(words, 0.0, audio.duration)
    return TimedAudio(audio.samples, audio.sample_rate, tuple(found))


def _groups(symbols: Sequence[Symbol]) -> list[list[Symbol]]:
    """Return what is spoken between blanks; punctuation makes no sound."""
    groups: list[list[Symbol]] = [[]]
    for symbol in symbols:
        if symbol.text.isspace():
            groups.append([])
        elif _sounds(symbol.text):
            groups[-1].append(symbol)
    return [group for group in groups if group]


def _sounds(phonemes: str) -> str:
    """Return phonemes without blanks and punctuation; the marks of stress and length are letters to Unicode."""
    return "".join(filter(str.isalpha, phonemes))
