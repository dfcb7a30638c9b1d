"""Windows of speech through an engine: several at once, what they say in order, on the times of the original audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from asr.engine import WindowEngine, WindowText, WindowWork
from asr.speech_windows import Window, windows
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, Transcription, in_order, spread_words
from utils.audio.pcm import Audio
from utils.audio.spans import Timeline

Result: TypeAlias = WindowText | WindowWork
MIN_SECONDS = 0.1
"""Nothing can be said in less, and Whisper makes something up."""
_FRAMES_PER_SECOND = 100
_BLOCK_SECONDS = 10.0


class Submit(Protocol):
    """Whoever has works decoded."""

    def __call__(self, work: WindowWork, *, first: bool = False) -> Future[Result]:
        """Return the result to come; `first`: before the works of this request that wait."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is said up to second `done` of the audio, since the part before."""

    segments: tuple[Segment, ...]
    done: float


def decode(
    engine: WindowEngine,
    speech: Iterator[Window],
    options: TranscribeOptions,
    *,
    submit: Submit,
    ahead: Callable[[], int],
) -> tuple[LanguageGuess, Generator[Part, None, None]]:
    """Return the language of the first window that has one, and what the windows say, as it becomes known.

    `ahead` tells how many windows may be on their way at the same time, from their preparation to their text; where the
    language has to be detected, or every window needs the text before, it is one. Raises what the engine and `submit`
    raise.
    """
    return begun(_Decoding(engine, speech, options, submit, ahead).run(), options)


def begun(
    parts: Generator[tuple[LanguageGuess, Part], None, None], options: TranscribeOptions
) -> tuple[LanguageGuess, Generator[Part, None, None]]:
    """Take parts until one has a language, or text; return that language and all the parts."""
    first = []
    for guess, part in parts:
        first.append(part)
        if guess.language is not None or part.segments:
            return guess, _all(first, parts)
    return LanguageGuess(options.language, 1.0 if options.language else 0.0), _all(first, parts)


def transcribe(engine: WindowEngine, audio: Audio, options: TranscribeOptions) -> Transcription:
    """Transcribe audio in this thread."""
    engine.check(options)

    def submit(work: WindowWork, *, first: bool = False) -> Future[Result]:
        del first
        done: Future[Result] = Future()
        done.set_result(engine.decode([work])[0])
        return done

    step = round(_BLOCK_SECONDS * audio.sample_rate)
    blocks = (audio.samples[at : at + step] for at in range(0, len(audio.samples), step))
    speech = windows(blocks, options.vad, seconds=engine.window_seconds, early=options.early)
    guess, parts = decode(engine, speech, options, submit=submit, ahead=lambda: 1)
    segments = (segment for part in parts for segment in part.segments)
    return Transcription(guess.language, audio.duration, segments, guess.probability)


def _all(first: list[Part], others: Generator[tuple[LanguageGuess, Part], None, None]) -> Generator[Part, None, None]:
    with closing(others):
        yield from first
        for _, part in others:
            yield part


class _Decoding:
    """The windows of one request on their way through an engine."""

    def __init__(
        self,
        engine: WindowEngine,
        speech: Iterator[Window],
        options: TranscribeOptions,
        submit: Submit,
        ahead: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._speech = speech
        self._options = options
        self._submit = submit
        self._ahead = ahead
        self._previous: tuple[int, ...] = ()
        # Around a cut twice the padding is silent, and there Whisper's times, in steps of 20 ms, are loose.
        self._slack = 2 * options.vad.speech_pad_ms / 1000 if options.vad else 0.0
        self._flying: deque[tuple[Window, Future[Result]]] = deque()

    def run(self) -> Generator[tuple[LanguageGuess, Part], None, None]:
        """Yield what the windows say, and in which language."""
        self._fill()
        while self._flying:
            window, coming = self._flying[0]
            while True:
                text = self._text(coming)
                rest = _rest(window, text)
                if rest is not None:
                    coming = self._submit(self._prepare(rest), first=True)
                yield LanguageGuess(text.language, text.language_probability), self._part(window, text, rest)
                if rest is None:
                    break
                window = rest
            self._flying.popleft()
            self._fill()

    def _fill(self) -> None:
        """Send as many windows on their way as may be."""
        while len(self._flying) < self._limit and (window := next(self._speech, None)) is not None:
            if window.audio.duration >= MIN_SECONDS:
                self._flying.append((window, self._submit(self._prepare(window))))

    @property
    def _limit(self) -> int:
        knows_one = len(self._engine.languages) == 1
        detects = self._options.language is None and not (self._engine.multilingual or knows_one)
        return 1 if detects or self._engine.serial else self._ahead()

    def _prepare(self, window: Window) -> WindowWork:
        return self._engine.prepare(window.audio, self._options, previous=self._previous)

    def _text(self, coming: Future[Result]) -> WindowText:
        """Wait for the text of a window; decode again what the engine was not content with."""
        while isinstance(result := coming.result(), WindowWork):
            coming = self._submit(result, first=True)
        self._previous = result.tokens
        if not self._engine.multilingual and self._options.language is None:
            self._options = replace(self._options, language=result.language)
        return result

    def _part(self, window: Window, text: WindowText, rest: Window | None) -> Part:
        done = rest.spans[0].start if rest else window.spans[-1].end
        timeline = Timeline(window.spans, slack=self._slack)
        return Part(tuple(in_order((place(segment, timeline) for segment in text.segments), done)), done)


def place(segment: Segment, timeline: Timeline) -> Segment:
    """Return a segment of a window with its times, and those of its words, moved to the original audio."""
    start, end = timeline.place(segment.start, segment.end)
    words = tuple(
        replace(word, start=at, end=until)
        for word in segment.words
        for at, until in [timeline.place_inside(word.start, word.end)]
    )
    if words:
        if "".join(word.word for word in words) != segment.text:  # the alignment gave up on this text
            words = spread_words(segment.text, start, end)
        start, end = words[0].start, words[-1].end
    seek = segment.seek / _FRAMES_PER_SECOND
    seek = timeline.place_inside(seek, seek)[0]
    return replace(segment, start=start, end=end, words=words, seek=round(seek * _FRAMES_PER_SECOND))


def _rest(window: Window, text: WindowText) -> Window | None:
    """Return the part of a window that has not been written yet, if there is any."""
    if text.rest is None or not 0 < text.rest <= window.audio.duration - MIN_SECONDS:
        return None
    return window.after(text.rest)
