"""Windows of speech through an engine: several at once, what they say in order, on the times of the original audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias

from asr.engine import MIN_SECONDS, WindowEngine, WindowText, WindowWork
from asr.speech_windows import Window, listen
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, Transcription, in_order, spread_words
from utils.audio.pcm import Audio
from utils.audio.spans import Timeline

Result: TypeAlias = WindowText | WindowWork
PROGRESS_SECONDS = 30.0
"""So much silence is worth telling of."""
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


class Parts(Iterator[Part]):
    """What is said, part by part. Closing it ends the work, also where it has not been asked for anything yet."""

    def __init__(self, first: list[Part], others: Generator[tuple[LanguageGuess, Part], None, None]) -> None:
        self._first = deque(first)
        self._others = others

    def __next__(self) -> Part:
        """Return the next part."""
        return self._first.popleft() if self._first else next(self._others)[1]

    def close(self) -> None:
        """End the work; there are no parts after this."""
        self._first.clear()
        self._others.close()


def decode(
    engine: WindowEngine,
    speech: Iterator[Window | float],
    options: TranscribeOptions,
    *,
    submit: Submit,
    ahead: Callable[[], int],
    working: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> tuple[LanguageGuess, Parts]:
    """Return the language of the first window that has one, and what the windows say, as it becomes known.

    `speech` is what asr.speech_windows.listen yields. `ahead` tells how many windows may be on their way at the same
    time, from their preparation to their text; until the language is detected, and where every window needs the text
    before, it is one. `working` is held while windows are made, in this thread. Raises what the engine and `submit`
    raise.
    """
    decoding = _Decoding(engine, speech, options, submit=submit, ahead=ahead, working=working)
    return begun(decoding.run(), options)


def begun(
    parts: Generator[tuple[LanguageGuess, Part], None, None], options: TranscribeOptions
) -> tuple[LanguageGuess, Parts]:
    """Take parts until one has a language, or text; return that language and all the parts.

    The language of a part without text is None, unless it was asked for: that of silence or music is no more than luck.
    """
    first = []
    for guess, part in parts:
        first.append(part)
        if guess.language is not None or part.segments:
            return guess, Parts(first, parts)
    return _asked_for(options), Parts(first, parts)


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
    speech = listen(blocks, options.vad, seconds=engine.window_seconds, early=options.early)
    guess, parts = decode(engine, speech, options, submit=submit, ahead=lambda: 1)
    segments = (segment for part in parts for segment in part.segments)
    return Transcription(guess.language, audio.duration, segments, guess.probability)


def _asked_for(options: TranscribeOptions) -> LanguageGuess:
    return LanguageGuess(options.language, 1.0 if options.language else 0.0)


class _Decoding:
    """The windows of one request on their way through an engine."""

    def __init__(
        self,
        engine: WindowEngine,
        speech: Iterator[Window | float],
        options: TranscribeOptions,
        *,
        submit: Submit,
        ahead: Callable[[], int],
        working: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._engine = engine
        self._speech = speech
        self._options = options
        self._submit = submit
        self._ahead = ahead
        self._working = working
        self._previous: tuple[int, ...] = ()
        self._tells_language = True  # until there is text without one
        # Around a cut twice the padding is silent, and there Whisper's times, in steps of 20 ms, are loose.
        self._slack = 2 * options.vad.speech_pad_ms / 1000 if options.vad else 0.0
        self._flying: deque[tuple[Window, Future[WindowText]]] = deque()
        self._ended = False  # there is no more speech
        self._heard = 0.0  # all speech up to this second is on its way

    def run(self) -> Generator[tuple[LanguageGuess, Part], None, None]:
        """Yield what the windows say, and in which language; in silence how far it goes, now and then."""
        done = 0.0
        while self._flying or not self._ended:
            if self._may_take:
                self._take()
                if not self._flying and self._heard >= done + PROGRESS_SECONDS:
                    done = self._heard
                    yield _asked_for(self._options), Part((), done)
            else:
                guess, part = self._head()
                done = part.done
                yield guess, part

    @property
    def _may_take(self) -> bool:
        """Whether another window is to be made ready now: a text that is there goes first, even after long silence."""
        if self._ended or not self._flying:
            return not self._ended
        return len(self._flying) < self._limit and not self._flying[0][1].done()

    def _take(self) -> None:
        """Listen on, and send a window on its way if there is one already."""
        with self._working():
            found = next(self._speech, None)
        if found is None:
            self._ended = True
        elif isinstance(found, float):
            self._heard = found
        elif found.audio.duration >= MIN_SECONDS:
            self._flying.append((found, self._decoded(self._prepare(found))))

    def _head(self) -> tuple[LanguageGuess, Part]:
        """Wait for the text of the first window on its way."""
        window, coming = self._flying.popleft()
        text = coming.result()
        guess = _asked_for(self._options)
        if text.segments or guess.language is not None:
            guess = LanguageGuess(text.language, text.language_probability)
            self._tells_language = guess.language is not None
        self._previous = text.tokens
        if not self._engine.multilingual and self._options.language is None:
            self._options = replace(self._options, language=guess.language)
        rest = _rest(window, text)
        if rest is not None:
            # Not as soon as the text is there, as a second look is: its spectrogram is the work of this thread.
            self._flying.appendleft((rest, self._decoded(self._prepare(rest), first=True)))
        return guess, self._part(window, text, rest)

    @property
    def _limit(self) -> int:
        knows_one = len(self._engine.languages) == 1
        detects = self._options.language is None and not (self._engine.multilingual or knows_one)
        return 1 if (detects and self._tells_language) or self._engine.serial else self._ahead()

    def _prepare(self, window: Window) -> WindowWork:
        with self._working():
            work = self._engine.prepare(window.audio, self._options, previous=self._previous)
        if not self._engine.carries_prompt:
            self._options = replace(self._options, prompt=None)
        return work

    def _decoded(self, work: WindowWork, *, first: bool = False) -> Future[WindowText]:
        """Have a window decoded, and at once again as long as the engine is not content with the text."""
        text: Future[WindowText] = Future()
        self._submit(work, first=first).add_done_callback(partial(self._settle, text))
        return text

    def _settle(self, text: Future[WindowText], coming: Future[Result]) -> None:
        """Take a result; runs in a thread of the device."""
        try:
            result = coming.result()
            if isinstance(result, WindowWork):
                self._submit(result, first=True).add_done_callback(partial(self._settle, text))
            else:
                text.set_result(result)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            text.set_exception(error)

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
