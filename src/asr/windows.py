"""A long file heard in a few places: audible windows spread over it, and what most of them say of its language."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from asr.pieces import read_audio
from asr.transcript import LanguageGuess
from utils.audio.pcm import Audio, PcmFile

TRIES = 27
"""So many windows are listened to at most: a film may have music where nobody speaks."""
_SPEECH_SHARE = 0.5
_SILENCE_PEAK = 0.002
_BASE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOptions:
    """Up to `count` windows with about `seconds` of speech each, from second `offset` of the file on."""

    seconds: float = 30.0
    offset: float = 0.0
    count: int = 3


def windows(pcm: PcmFile, options: WindowOptions, *, sample_rate: int) -> Iterator[Audio]:
    """Yield stretches that are not silent, mono at `sample_rate` Hz; any first few of them are spread over the file.

    Each is twice as long as the speech wanted from it, because people in films are silent half of the time.
    """
    first = min(round(options.offset * pcm.sample_rate), pcm.frames)
    longest = options.seconds / _SPEECH_SHARE * pcm.sample_rate
    count = max(1, math.ceil((pcm.frames - first) / longest))
    edges = np.linspace(first, pcm.frames, count + 1).round().astype(int).tolist()
    heard = [(start, stop) for start, stop in pairwise(edges) if _is_audible(pcm, start, stop)]
    for place in _spread(len(heard)):
        yield read_audio(pcm, *heard[place], sample_rate)


def vote(guesses: Iterable[LanguageGuess], count: int) -> LanguageGuess:
    """Return the language that up to `count` guesses speak for, each with the weight of its probability.

    No more guesses are taken than it needs for the rest not to change anything. Guesses that name no language do not
    count. The probability is the mean over the guesses, those for other languages included as 0.
    """
    votes: dict[str, float] = {}
    taken = 0
    for guess in guesses:
        if guess.language is None:
            continue
        taken += 1
        votes[guess.language] = votes.get(guess.language, 0.0) + guess.probability
        best, second, *_ = [*sorted(votes.values(), reverse=True), 0.0]
        if best - second > count - taken or taken >= count:
            break
    if not taken:
        return LanguageGuess(None)
    winner = max(votes, key=votes.__getitem__)
    return LanguageGuess(winner, votes[winner] / taken)


def _is_audible(pcm: PcmFile, start: int, stop: int) -> bool:
    return stop > start and float(np.abs(pcm.read(start, stop)).max()) >= _SILENCE_PEAK


def _spread(count: int) -> list[int]:
    """Return up to TRIES different places of `count`, however many are taken evenly spread (van der Corput)."""
    fractions = ((1 / (2 * _BASE) + _mirrored(number)) % 1 for number in range(TRIES))
    return list(dict.fromkeys(int(fraction * count) for fraction in fractions)) if count else []


def _mirrored(number: int) -> float:
    """Return the digits of a number, mirrored at the point: 1, 2, 10, 11 become .1, .2, .01, .11."""
    result, weight = 0.0, 1.0
    while number:
        number, digit = divmod(number, _BASE)
        weight /= _BASE
        result += digit * weight
    return result
