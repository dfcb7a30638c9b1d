"""Whether a text is believed: Whisper's own rules, and stricter ones for windows shorter than it was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from asr.engines.whisper_family_options import WhisperFamilyOptions
from asr.transcript import Segment

# What of a short window is not believed. The texts of 150 clips of real speech kept to a ratio of 1.5 and 5 tokens per
# second; those of 242, many of them single words, to 1.5 seconds behind the speech.
_COMPRESSION_RATIO = 2.0
_LOG_PROB = -0.9
_TOKENS_PER_SECOND = 20.0  # English has 4, scripts of which a letter takes several tokens five times as many
_FEW_TOKENS = 16
# What is said twice is often written once. The texts of 42 clips had 1.7 to 3.9 tokens per second, those of 27 that
# came twice in a row, written once, 0.3 to 1.8; other languages have more. Of a word or two it tells nothing.
_LEAST_TOKENS_PER_SECOND = 1.6
_FEW_SECONDS = 3.0
# Who says the same twice says it once in half of the time: a beam that ended early must have text for all of it.
_LOOP_TOKENS_PER_SECOND = 2.5
_SECONDS_BEHIND_SPEECH = 2.0
_PHRASE, _SYLLABLE = 4, 2  # letters of what is suspicious when it ends a text twice, and three times

Tokens: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one decoding of a window gave.

    `tokens` has the timestamps, `text` has not, and `said` does not count them; `last_time` is the second of the last
    timestamp, 0.0 without any.
    """

    tokens: Tokens
    text: str
    said: int
    last_time: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float


def is_suspicious(attempt: Attempt, duration: float, limit: int, options: WhisperFamilyOptions) -> bool:
    """Tell whether a text of `duration` seconds, padded to less than a full window, needs a second look at full length.

    `limit` is the most tokens it could have had. Short windows go wrong in loops, in text behind the speech, and where
    the same is said again.
    """
    count = len(attempt.tokens)
    ratio = options.compression_ratio_threshold or math.inf
    sure = options.log_prob_threshold
    return (
        count >= limit
        or count > _FEW_TOKENS + _TOKENS_PER_SECOND * duration
        or (duration > _FEW_SECONDS and attempt.said < _LEAST_TOKENS_PER_SECOND * duration)
        or attempt.last_time > duration + _SECONDS_BEHIND_SPEECH
        or repeats(attempt.text)
        or attempt.compression_ratio > min(_COMPRESSION_RATIO, ratio)
        or (sure is not None and attempt.avg_logprob < max(_LOG_PROB, sure))
        or (options.no_speech_threshold is not None and attempt.no_speech_prob > options.no_speech_threshold)
    )


def repeats(text: str) -> bool:
    """Tell whether a text ends in a phrase said twice, or a syllable said three times.

    That is how short windows loop ("And just now and just now."), too briefly for the compression ratio to tell.
    """
    letters = "".join(character for character in text.casefold() if character.isalnum())
    size = len(letters)
    twice = (letters[-n:] == letters[-2 * n : -n] for n in range(_PHRASE, size // 2 + 1))
    thrice = (letters[-2 * n :] == letters[-3 * n : -n] for n in range(_SYLLABLE, size // 3 + 1))
    return any(twice) or any(thrice)


def says_twice(tokens: Sequence[int], count: int) -> bool:
    """Tell whether any `count` tokens in a row come twice."""
    seen = [tuple(tokens[at : at + count]) for at in range(len(tokens) - count + 1)]
    return len(set(seen)) < len(seen)


def once(found: Sequence[tuple[Tokens, float]], count: int, duration: float) -> tuple[Tokens, float]:
    """Return one of the texts of a window of `duration` seconds, best first, each with its sum of log-probabilities.

    It is the first, unless that says `count` tokens twice: then the likeliest of those that end earlier in the same
    words, if that has a greater sum and is long enough for the time. What is said again costs little for each token,
    and so the mean, by which texts are ordered, improves with every round; the sum does not.
    """
    first, total = found[0]
    if not says_twice(first, count):
        return found[0]
    enough = _LOOP_TOKENS_PER_SECOND * duration
    ended = [one for one in found if len(one[0]) >= enough and one[0] == first[: len(one[0])] and one[1] >= total]
    return max(ended, key=lambda one: one[1], default=found[0])


def is_acceptable(attempt: Attempt, options: WhisperFamilyOptions) -> bool:
    """Tell whether this text is kept, or left out as silence, and the next temperature not tried."""
    unsure = options.log_prob_threshold is not None and attempt.avg_logprob < options.log_prob_threshold
    return is_silence(attempt, options) or not (unsure or _loops(attempt, options))


def is_silence(attempt: Attempt, options: WhisperFamilyOptions) -> bool:
    """Tell whether the window is left out as one in which nobody speaks.

    Whisper asks the log-probability alone, which is high in the loops that it writes about silence: they would take the
    whole ladder of temperatures, and be left out in the end.
    """
    if options.no_speech_threshold is None or attempt.no_speech_prob <= options.no_speech_threshold:
        return False
    sure = options.log_prob_threshold
    return sure is None or attempt.avg_logprob <= sure or _loops(attempt, options)


def _loops(attempt: Attempt, options: WhisperFamilyOptions) -> bool:
    ratio = options.compression_ratio_threshold
    return ratio is not None and attempt.compression_ratio > ratio


def best(attempts: Sequence[Attempt], options: WhisperFamilyOptions) -> Attempt:
    """Return the likeliest of texts none of which is acceptable, one that does not loop if there is one."""
    no_loops = [attempt for attempt in attempts if not _loops(attempt, options)]
    return max(no_loops or attempts, key=lambda attempt: attempt.avg_logprob)


def is_speech(segment: Segment, options: WhisperFamilyOptions) -> bool:
    """Tell what was said from what Whisper makes up over music and noise that the VAD let through.

    Whisper's own rule (no-speech probability above 0.6 and log-probability below -1) lets " Thank you." over an organ
    pass at -0.93. In 15 minutes of real recordings, noisy ones and words cut out one by one among them, no speech had
    a no-speech probability above 0.53, so above 0.6 more may be asked. Punctuation alone is no speech either.
    """
    if not any(character.isalnum() for character in segment.text):
        return False
    doubtful = options.no_speech_threshold is not None and segment.no_speech_prob > options.no_speech_threshold
    return not (doubtful and segment.avg_logprob < options.no_speech_log_prob)
