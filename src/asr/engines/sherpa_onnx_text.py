"""Results of sherpa-onnx, tokens with times or texts without, as segments and words of a window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from asr.transcript import Segment, Word, spread_words

PAUSE_SECONDS = 0.8
"""A segment ends before so much silence, and behind a sentence."""
_SENTENCE_ENDS = (".", "?", "!", "\u3002", "\uff1f", "\uff01")
_FIRST_UNSPACED = 0x2E80  # from here on scripts put no blanks between words, but for Hangul
_HANGUL = range(0xAC00, 0xD7B0)
_TOKEN_SECONDS = 0.08


@dataclass(frozen=True, slots=True)
class Heard:
    """What a recogniser found: tokens may be empty, or as many as `starts`; seconds are from where it began."""

    text: str
    tokens: tuple[str, ...] = ()
    starts: tuple[float, ...] = ()
    lengths: tuple[float, ...] = ()
    logprobs: tuple[float, ...] = ()
    parts: tuple[tuple[float, float, str], ...] = ()
    language: str | None = None


def heard(result: Any, *, stretch: float = 1.0) -> Heard:
    """Return a result of the library, an OfflineRecognitionResult or OnlineRecognizerResult, as plain values.

    `stretch` is what the times of its tokens are multiplied by.
    """
    return Heard(
        text=str(result.text).strip(),
        tokens=_tokens(result),
        starts=tuple(stretch * start for start in _numbers(result, "timestamps")),
        lengths=_numbers(result, "durations"),
        logprobs=_numbers(result, "ys_log_probs") or _numbers(result, "ys_probs"),
        parts=tuple(_parts(result)),
        language=str(getattr(result, "lang", "")).strip("<|>") or None,
    )


def segments(found: Heard, duration: float, *, words: bool, offset: float = 0.0) -> tuple[Segment, ...]:
    """Return the segments of a window, with their words where these are wanted.

    Times are within [offset, duration]; the tokens' are counted from `offset`. Words of a model that does not time its
    tokens share the time of their segment by length, with probability 0.
    """
    if not found.text:
        return ()
    logprob = math.fsum(found.logprobs) / len(found.logprobs) if found.logprobs else 0.0
    timed = _words(found, duration, offset)
    if timed:
        cut = (tuple(group) for group in _cut(timed))
        return tuple(
            Segment(
                start=group[0].start,
                end=group[-1].end,
                text="".join(word.word for word in group),
                avg_logprob=logprob,
                words=group if words else (),
            )
            for group in cut
        )
    spans = found.parts or ((0.0, duration - offset, found.text),)
    made = []
    for start, end, text in spans:
        if not text.strip():
            continue
        begin = min(max(start + offset, offset), duration)
        until = min(max(end + offset, begin), duration)
        led = _led(text.strip())
        made.append(
            Segment(
                start=begin,
                end=until,
                text=led,
                avg_logprob=logprob,
                words=spread_words(led, begin, until) if words else (),
            )
        )
    return tuple(made)


def _tokens(result: Any) -> tuple[str, ...]:
    try:
        return tuple(result.tokens)
    except UnicodeDecodeError:  # a token may be a part of a character
        return ()


def _numbers(result: Any, name: str) -> tuple[float, ...]:
    return tuple(float(each) for each in getattr(result, name, ()))


def _parts(result: Any) -> Iterator[tuple[float, float, str]]:
    """Yield the segments that Whisper's own timestamps make."""
    starts, lengths = _numbers(result, "segment_timestamps"), _numbers(result, "segment_durations")
    try:
        texts = tuple(getattr(result, "segment_texts", ()))
    except UnicodeDecodeError:
        return
    if len(starts) == len(lengths) == len(texts):
        for start, length, text in zip(starts, lengths, texts, strict=True):
            yield start, start + length, text


def _words(found: Heard, duration: float, offset: float) -> list[Word]:
    """Return the words that tokens with times make, none where they are not the text."""
    if not found.tokens or len(found.tokens) != len(found.starts):
        return []
    if "".join(found.tokens).strip() != found.text:
        return []
    lengths = found.lengths if len(found.lengths) == len(found.tokens) else (_TOKEN_SECONDS,) * len(found.tokens)
    words: list[Word] = []
    at = offset
    for token, start, length in zip(found.tokens, found.starts, lengths, strict=True):
        begin = min(max(start + offset, at), duration)
        end = min(begin + max(length, 0.0), duration)
        at = begin
        if words and not _begins(token, words[-1].word):
            last = words[-1]
            words[-1] = Word(last.word + token, last.start, max(last.end, end))
        else:
            words.append(Word(token if words else _led(token.lstrip()), begin, end))
    # A token's end is a guess: no word reaches into the next one.
    following = [*(word.start for word in words[1:]), duration]
    return [Word(word.word, word.start, min(word.end, end)) for word, end in zip(words, following, strict=True)]


def _begins(token: str, before: str) -> bool:
    """Return whether a token begins a word: behind a blank, or as a character of a script without blanks."""
    if not token.strip() or not before.strip():
        return False
    return token.startswith(" ") or before.endswith(" ") or _unspaced(token)


def _cut(words: Iterable[Word]) -> Iterator[list[Word]]:
    group: list[Word] = []
    for word in words:
        pause = bool(group) and word.start - group[-1].end >= PAUSE_SECONDS
        if group and (pause or group[-1].word.rstrip().endswith(_SENTENCE_ENDS)):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _led(text: str) -> str:
    """Return a text with the blank that parts it from what was said before, where its script has any."""
    return text if not text or _unspaced(text) else f" {text}"


def _unspaced(text: str) -> bool:
    first = ord(text[0])
    return first >= _FIRST_UNSPACED and first not in _HANGUL
