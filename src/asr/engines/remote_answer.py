"""The answers of transcription servers as what a window says: verbose_json of OpenAI, vLLM, whisper.cpp, ours."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from asr.engine import WindowText
from asr.transcript import Segment, Word, spread_words
from utils import languages

UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "km", "my", "bo"})
"""Languages written without blanks between words."""
_GAP = 40  # characters that may stand between two words: marks, and what a server leaves out of its list


def _number(value: object) -> object:
    """Return 0 for what some servers write where a division had no result."""
    return 0.0 if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


def _optional(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Return None for what cannot be read: it is not worth the text."""
    try:
        return validate(value)
    except ValidationError:
        return None


_Number = Annotated[float, BeforeValidator(_number)]
_Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
_Optional = WrapValidator(_optional)


class HeardWord(BaseModel):
    """A word, or a token of one, with its times in seconds; LocalAI calls it `text`."""

    word: _Text = Field(validation_alias=AliasChoices("word", "text"))
    start: _Number = 0.0
    end: _Number = 0.0
    probability: _Number = 1.0


class HeardSegment(BaseModel):
    """A segment; without `end` it lasts to the end of the window."""

    text: _Text = ""
    start: _Number = 0.0
    end: float | None = None
    temperature: _Number = 0.0
    avg_logprob: _Number = 0.0
    compression_ratio: _Number = 1.0
    no_speech_prob: _Number = 0.0
    words: Annotated[list[HeardWord] | None, _Optional] = None


class Answer(BaseModel):
    """What is read of an answer; a server that sends `json` has the text only. One without even that is none.

    `language` is a name or a code. Only some servers tell how sure they are of it: our own in `language_probability`,
    whisper.cpp in the others.
    """

    text: _Text
    language: str | None = None
    language_probability: Annotated[float | None, _Optional] = None
    detected_language: str | None = None
    detected_language_probability: Annotated[float | None, _Optional] = None
    language_probabilities: Annotated[dict[str, float | None] | None, _Optional] = None
    segments: list[HeardSegment] | None = None
    words: Annotated[list[HeardWord] | None, _Optional] = None

    @property
    def code(self) -> str | None:
        """The code of the language, None where it is not told or not known."""
        try:
            return languages.parse(self.language or self.detected_language)
        except ValueError:
            return None

    @property
    def probability(self) -> float:
        """How sure the server is of the language, 1 where it does not say."""
        found = self.language_probability
        if found is None and self.language_probabilities:
            found = self.language_probabilities.get(self.code or "")
        if found is None:
            found = self.detected_language_probability
        return 1.0 if found is None or not math.isfinite(found) else min(max(found, 0.0), 1.0)


def window_text(answer: Answer, duration: float, *, language: str | None, words: bool) -> WindowText:
    """Return what a window of `duration` seconds says; `language` is the one that was asked for, if any.

    Words get the blanks and marks of the text they are found in; where that fails the text's time is shared out.
    """
    code = language or answer.code
    heard = [each for each in answer.segments or () if each.text.strip()]
    if not heard and answer.text.strip():
        heard = [HeardSegment(text=answer.text.strip())]
    # Texts are joined as they are: a server that takes blanks away must not make one word of two.
    blank = "" if code in UNSPACED or any(each.text[0].isspace() for each in heard) else " "
    pool = deque(answer.words or ())
    last = heard[-1] if heard else None
    segments = []
    for each in heard:
        text = blank + each.text.rstrip() if blank else each.text
        start = min(max(each.start, 0.0), duration)
        end = duration if each.end is None or not math.isfinite(each.end) else min(max(each.end, start), duration)
        timed: tuple[Word, ...] = ()
        if words:
            own = each.words or _until(end if each is not last else math.inf, pool)
            timed = fitted(text, own) or spread_words(text, start, end)
        segments.append(
            Segment(
                start=start,
                end=end,
                text=text,
                seek=round(start * 100),
                temperature=each.temperature,
                avg_logprob=each.avg_logprob,
                compression_ratio=each.compression_ratio,
                no_speech_prob=each.no_speech_prob,
                words=timed,
            )
        )
    return WindowText(
        segments=tuple(segments),
        language=code,
        language_probability=1.0 if language else answer.probability,
    )


def fitted(text: str, heard: Sequence[HeardWord]) -> tuple[Word, ...]:
    """Return the words as they stand in the text, one after the other; none where most of them are not there.

    Joined they are the text: blanks go to the word behind them, marks without a blank to the one before, and so does
    what none of them says.
    """
    found: list[tuple[int, int, HeardWord]] = []
    end = 0
    for word in heard:
        bare = word.word.strip()
        at = text.find(bare, end, end + len(bare) + _GAP) if bare else -1
        if at >= 0:
            end = at + len(bare)
            found.append((at, end, word))
    if 2 * len(found) < len(heard):
        return ()
    cuts = [0]
    for (_, before, _), (at, _, _) in pairwise(found):
        gap = text[before:at]
        cuts.append(at - len(gap) + next((place for place, char in enumerate(gap) if char.isspace()), len(gap)))
    cuts.append(len(text))
    return tuple(
        Word(text[first:last], word.start, max(word.end, word.start), probability=min(max(word.probability, 0.0), 1.0))
        for (first, last), (_, _, word) in zip(pairwise(cuts), found, strict=False)
    )


def whole_words(tokens: Iterable[HeardWord]) -> Sequence[HeardWord]:
    """Return words of the tokens that whisper.cpp lists: one begins with a blank, the others go on with it."""
    words: list[HeardWord] = []
    for token in tokens:
        if words and token.word and not token.word[0].isspace():
            last = words[-1]
            words[-1] = HeardWord(
                word=last.word + token.word,
                start=last.start,
                end=max(last.end, token.end),
                probability=min(last.probability, token.probability),
            )
        else:
            words.append(token)
    return words


def _until(seconds: float, pool: deque[HeardWord]) -> list[HeardWord]:
    """Take the words of a list of all whose middle is before a second."""
    taken = []
    while pool and (pool[0].start + pool[0].end) / 2 < seconds:
        taken.append(pool.popleft())
    return taken
