"""What speech becomes: words, segments, a transcription, and the options that shape it. Times are float seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

Task = Literal["transcribe", "translate"]
TEMPERATURE_LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_FRAMES_PER_SECOND = 100


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its times; `word` keeps the blank in front of it, so joined words equal the segment's text."""

    word: str
    start: float
    end: float
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of the text, the natural logarithm of its probability, and its UTF-8 bytes.

    A character may take several tokens: only the joined bytes are sure to be text.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of speech and its text, with the decoder's own measures of how sure it was.

    `seek` is the first 10 ms frame of the window it came from, `tokens` the model's token ids,
    `avg_logprob` the mean natural logarithm of the token probabilities,
    `no_speech_prob` the probability that the window held no speech.
    """

    start: float
    end: float
    text: str
    id: int = 0
    seek: int = 0
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class LanguageGuess:
    """A language code and its probability; `language` is None when there is nothing to tell it by."""

    language: str | None
    probability: float = 0.0


@dataclass(frozen=True, slots=True)
class Transcription:
    """What is known early, apart from what arrives late.

    Closing `segments` (a generator) cancels the work. `language` is None when no speech was found.
    """

    language: str | None
    duration: float
    segments: Iterator[Segment]
    language_probability: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VadOptions:
    """Silero VAD: speech above `threshold`, gaps shorter than `min_silence_ms` do not split, `speech_pad_ms` around.

    Speech shorter than `min_speech_ms` is dropped; the default drops single VAD frames (32 ms), which are clicks.
    """

    threshold: float = 0.5
    min_speech_ms: int = 40
    min_silence_ms: int = 2000
    speech_pad_ms: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscribeOptions:
    """How one request wants its audio transcribed. An engine refuses (UnsupportedParameter) what it cannot honour.

    `language` None detects; `languages` restricts the detection. `temperature` is tried from left to right until the
    compression ratio and the log-probability are acceptable. `hotwords` are words to favour.
    `vad` None means no voice activity detection. `beam_size` and `best_of` None leave the engine's own choice.
    `logprobs` asks for those of the tokens; an engine that has them says so (AsrEngine.gives_logprobs).
    `timestamps` False says that nobody looks at the times of segments: an engine that finds better text without them
    may give one segment for all that it hears at once.
    `early` asks for the first text as soon as possible, which may take a little more work in all. `amplify` raises
    quiet audio to a common level; the service has done it when an engine sees the audio.
    """

    task: Task = "transcribe"
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    temperature: tuple[float, ...] = TEMPERATURE_LADDER
    timestamps: bool = True
    word_timestamps: bool = False
    vad: VadOptions | None = field(default_factory=VadOptions)
    beam_size: int | None = None
    best_of: int | None = None
    logprobs: bool = False
    early: bool = False
    amplify: bool = False


def in_order(segments: Iterable[Segment], duration: float) -> Iterator[Segment]:
    """Yield the segments with their times inside [0, duration] and never going back, segments and words alike."""
    reached = 0.0
    for segment in segments:
        start = min(max(segment.start, reached), duration)
        end = min(max(segment.end, start), duration)
        words = []
        at = start
        for word in segment.words:
            word_start = min(max(word.start, at), end)
            at = min(max(word.end, word_start), end)
            words.append(replace(word, start=word_start, end=at))
        reached = end
        yield replace(segment, start=start, end=end, words=tuple(words))


def shifted(segment: Segment, number: int, offset: float) -> Segment:
    """Return a segment of a piece as segment `number` of the whole, where the piece begins at `offset` seconds."""
    words = tuple(replace(word, start=word.start + offset, end=word.end + offset) for word in segment.words)
    return replace(
        segment,
        id=number,
        seek=segment.seek + round(offset * _FRAMES_PER_SECOND),
        start=segment.start + offset,
        end=segment.end + offset,
        words=words,
    )


def spread_words(text: str, start: float, end: float) -> tuple[Word, ...]:
    """Return the words of a text with times shared out by their length, for an engine that timed only the text.

    A word keeps the blank in front of it; blanks behind the last word stay with it.
    """
    parts = re.findall(r"\s*\S+(?:\s+$)?", text)
    words = []
    done = 0
    for part in parts:
        begin, done = done, done + len(part)
        begins, ends = (start + (end - start) * place / len(text) for place in (begin, done))
        words.append(Word(part, begins, ends, probability=0.0))
    return tuple(words)
