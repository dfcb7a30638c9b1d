"""Windows through an engine: several at once, their texts in order, again what was no good, on the original times."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

from asr import windowed
from asr.engine import WindowEngine, WindowText, WindowWork
from asr.speech_windows import Window
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, VadOptions, Word
from asr.windowed import Part, Result
from core.engines import EngineContext
from utils.audio.pcm import Audio
from utils.audio.spans import Span

RATE = 16_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Work(WindowWork):
    name: float
    seconds: float
    options: TranscribeOptions
    previous: tuple[int, ...]
    tries: int = 0


@dataclass
class Script(WindowEngine):
    """An engine whose windows are named by their first sample; it says what the test wants."""

    says: dict[float, list[Result | dict[str, Any]]] = field(default_factory=dict)
    is_serial: bool = False
    is_multilingual: bool = False
    is_carrying: bool = False

    def __post_init__(self) -> None:
        super().__init__(EngineContext())
        self.prepared: list[Work] = []

    @property
    def serial(self) -> bool:
        return self.is_serial

    @property
    def multilingual(self) -> bool:
        return self.is_multilingual

    @property
    def carries_prompt(self) -> bool:
        return self.is_carrying

    def load(self) -> None: ...

    def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> Work:
        name = round(float(audio.samples[0]), 3)
        self.prepared.append(Work(key=0, name=name, seconds=audio.duration, options=options, previous=previous))
        return self.prepared[-1]

    def decode(self, works: Sequence[WindowWork]) -> Sequence[Result]:
        return [self.answer(work) for work in works if isinstance(work, Work)]

    def answer(self, work: Work) -> Result:
        said = self.says.get(work.name)
        if said:
            answer = said.pop(0)
            return text(work, **answer) if isinstance(answer, dict) else answer
        return text(work)


def text(
    work: Work, *, language: str | None = "en", segments: Sequence[Segment] | None = None, **more: Any
) -> WindowText:
    told = [Segment(start=0.0, end=work.seconds, text=f" {work.name}")] if segments is None else segments
    return WindowText(
        segments=tuple(told), language=work.options.language or language, tokens=(round(work.name * 10),), **more
    )


def window(name: float, *spans: tuple[float, float]) -> Window:
    """A window of these spans, whose samples rise by 0.001 a second from its name on."""
    seconds = sum(end - start for start, end in spans)
    samples = name + np.arange(round(seconds * RATE), dtype=np.float32) / RATE / 1000
    return Window(Audio(samples.astype(np.float32), RATE), tuple(Span(*span) for span in spans))


WINDOWS = [window(0.1, (1, 5), (8, 11)), window(0.2, (20, 26)), window(0.3, (30, 31)), window(0.4, (40, 45))]


class Line:
    """A device that decodes while somebody waits for a text, and remembers what was on its way then."""

    def __init__(self, engine: Script) -> None:
        Waited.line = self
        self.engine = engine
        self.coming: list[tuple[Work, Future[Result]]] = []
        self.firsts: list[bool] = []
        self.flights: list[list[float]] = []

    def submit(self, work: WindowWork, *, first: bool = False) -> Future[Result]:
        assert isinstance(work, Work)
        future: Future[Result] = Future()
        self.coming.insert(0 if first else len(self.coming), (work, future))
        self.firsts.append(first)
        return future

    def go_on(self) -> None:
        self.flights.append([work.name for work, _ in self.coming])
        work, future = self.coming.pop(0)
        future.set_result(self.engine.decode([work])[0])


class Waited(Future[WindowText]):
    """A text that has the device go on when it is waited for."""

    line: ClassVar[Line]

    def result(self, timeout: float | None = None) -> WindowText:
        while not self.done():
            self.line.go_on()
        return super().result(timeout)


@pytest.fixture(autouse=True)
def nothing_happens_unless_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "Future", Waited)


def run(engine: Script, *, ahead: int = 3, **options: Any) -> tuple[Any, list[Part], list[bool]]:
    line = Line(engine)
    given = TranscribeOptions(**options)
    guess, parts = windowed.decode(engine, iter(WINDOWS), given, submit=line.submit, ahead=lambda: ahead)
    return guess, list(parts), line.firsts


def texts(parts: Sequence[Part]) -> list[str]:
    return [segment.text for part in parts for segment in part.segments]


def test_texts_come_in_order_with_the_times_of_the_original() -> None:
    guess, parts, _ = run(Script())
    assert guess.language == "en"
    assert texts(parts) == [" 0.1", " 0.2", " 0.3", " 0.4"]
    assert [part.done for part in parts] == [11, 26, 31, 45]
    assert [(part.segments[0].start, part.segments[0].end) for part in parts] == [(1, 11), (20, 26), (30, 31), (40, 45)]


def test_the_language_is_heard_first_and_then_so_many_windows_are_on_their_way() -> None:
    engine = Script()
    line = Line(engine)
    _, parts = windowed.decode(engine, iter(WINDOWS), TranscribeOptions(), submit=line.submit, ahead=lambda: 2)
    assert len(list(parts)) == 4
    assert line.flights == [[0.1], [0.2, 0.3], [0.3, 0.4], [0.4]]
    assert [work.options.language for work in engine.prepared] == [None, "en", "en", "en"]


def test_a_language_that_is_the_only_one_is_not_waited_for() -> None:
    engine = Script()
    engine.languages = ("en",)
    line = Line(engine)
    _, parts = windowed.decode(engine, iter(WINDOWS), TranscribeOptions(), submit=line.submit, ahead=lambda: 2)
    assert len(list(parts)) == 4
    assert line.flights[0] == [0.1, 0.2]


@pytest.mark.parametrize(("serial", "multilingual", "most"), [(False, False, 3), (True, False, 1), (False, True, 3)])
def test_no_more_windows_than_asked_for_are_on_their_way(serial: bool, multilingual: bool, most: int) -> None:
    engine = Script(is_serial=serial, is_multilingual=multilingual)
    line = Line(engine)
    options = TranscribeOptions(language=None if multilingual else "de")
    _, parts = windowed.decode(engine, iter(WINDOWS), options, submit=line.submit, ahead=lambda: 3)
    assert len(list(parts)) == 4
    assert max(map(len, line.flights)) == most
    assert [flight[0] for flight in line.flights] == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize("language", [None, "de"])
def test_an_engine_for_many_languages_hears_every_window(language: str | None) -> None:
    engine = Script(is_multilingual=True, says={0.2: [{"language": "fr"}]})
    guess, _, _ = run(engine, language=language)
    assert guess.language == (language or "en")
    assert [work.options.language for work in engine.prepared] == [language] * 4


def test_a_window_without_a_language_does_not_decide() -> None:
    engine = Script(says={0.1: [{"language": None, "segments": []}], 0.2: [{"language": "fr"}]})
    guess, parts, _ = run(engine)
    assert guess.language == "fr"
    assert [part.done for part in parts] == [11, 26, 31, 45]
    assert [work.options.language for work in engine.prepared] == [None, None, "fr", "fr"]


def test_an_engine_that_tells_no_language_is_not_waited_for_all_the_time() -> None:
    engine = Script(says={name: [{"language": None}] for name in (0.1, 0.2, 0.3, 0.4)})
    line = Line(engine)
    guess, parts = windowed.decode(engine, iter(WINDOWS), TranscribeOptions(), submit=line.submit, ahead=lambda: 2)
    assert len(list(parts)) == 4
    assert guess.language is None
    assert line.flights == [[0.1], [0.2, 0.3], [0.3, 0.4], [0.4]]


def test_the_language_of_silence_and_music_does_not_decide() -> None:
    engine = Script(says={0.1: [{"language": "nn", "segments": []}], 0.2: [{"language": "fr"}]})
    guess, _, _ = run(engine)
    assert guess.language == "fr"
    assert [work.options.language for work in engine.prepared] == [None, None, "fr", "fr"]


def test_nothing_said_is_the_language_that_was_asked_for() -> None:
    engine = Script()
    for language, probability in ((None, 0.0), ("de", 1.0)):
        options = TranscribeOptions(language=language)
        guess, parts = windowed.decode(engine, iter(()), options, submit=Line(engine).submit, ahead=lambda: 1)
        assert (guess.language, guess.probability, list(parts)) == (language, probability, [])


def test_a_serial_engine_is_shown_what_was_written() -> None:
    engine = Script(is_serial=True, says={0.2: [{"rest": 3.0}]})
    run(engine, language="en", ahead=4)
    assert [(work.name, work.previous) for work in engine.prepared] == [
        (0.1, ()),
        (0.2, (1,)),
        (0.203, (2,)),
        (0.3, (2,)),
        (0.4, (3,)),
    ]


@pytest.mark.parametrize(("carried", "others"), [(False, None), (True, "Ada")])
def test_the_prompt_comes_before_the_first_window(carried: bool, others: str | None) -> None:
    engine = Script(is_carrying=carried, says={0.1: [{"rest": 3.0}]})
    run(engine, language="en", prompt="Ada", hotwords=("Grace",))
    shown = {work.name: work.options.prompt for work in engine.prepared}
    assert shown == {0.1: "Ada", 0.103: others, 0.2: others, 0.3: others, 0.4: others}
    assert {work.options.hotwords for work in engine.prepared} == {("Grace",)}


def test_what_was_no_good_is_decoded_again_first() -> None:
    again = Work(key=1, name=0.7, seconds=6.0, options=TranscribeOptions(language="en"), previous=())
    last = Work(key=1, name=0.8, seconds=6.0, options=TranscribeOptions(language="en"), previous=())
    _, parts, firsts = run(Script(says={0.2: [again], 0.7: [last]}), language="en")
    assert texts(parts) == [" 0.1", " 0.8", " 0.3", " 0.4"]
    assert sorted(firsts) == [False] * 4 + [True] * 2


def test_what_was_no_good_is_decoded_again_before_its_turn_has_come() -> None:
    again = Work(key=1, name=0.7, seconds=6.0, options=TranscribeOptions(language="en"), previous=())
    engine = Script(says={0.2: [again]})
    line = Line(engine)
    options = TranscribeOptions(language="en")
    _, parts = windowed.decode(engine, iter(WINDOWS[:3]), options, submit=line.submit, ahead=lambda: 3)
    assert line.flights == [[0.1, 0.2, 0.3]]
    line.go_on()
    assert [work.name for work, _ in line.coming] == [0.7, 0.3]
    assert texts(list(parts)) == [" 0.1", " 0.7", " 0.3"]


def test_what_a_second_look_raises_comes_through() -> None:
    class Broken(Script):
        def decode(self, works: Sequence[WindowWork]) -> Sequence[Result]:
            (work,) = works
            assert isinstance(work, Work)
            return [Work(key=0, name=1.0, seconds=1.0, options=work.options, previous=(), tries=1)]

    engine = Broken()

    def submit(work: WindowWork, *, first: bool = False) -> Future[Result]:
        future: Future[Result] = Future()
        if first:
            future.set_exception(MemoryError("second"))
        else:
            future.set_result(engine.decode([work])[0])
        return future

    with pytest.raises(MemoryError, match="second"):
        windowed.decode(engine, iter(WINDOWS), TranscribeOptions(), submit=submit, ahead=lambda: 1)


def test_a_text_that_is_there_does_not_wait_for_hours_of_silence() -> None:
    engine = Script()
    line = Line(engine)
    blocks = []

    def speech() -> Iterator[Window | float]:
        yield WINDOWS[0]
        for block in range(1000):
            blocks.append(block)
            yield 20.0 + 10 * block
            if block == 5:
                line.go_on()

    options = TranscribeOptions(language="en")
    guess, parts = windowed.decode(engine, speech(), options, submit=line.submit, ahead=lambda: 3)
    assert texts([next(parts)]) == [" 0.1"]
    assert (guess.language, len(blocks)) == ("en", 7)
    assert [(part.segments, part.done) for part in parts][:3] == [((), 90.0), ((), 120.0), ((), 150.0)]
    assert len(blocks) == 1000


def test_all_that_makes_a_window_is_known_to_be_work() -> None:
    at_work: list[bool] = [False]
    seen: list[tuple[str, bool]] = []

    @contextmanager
    def working() -> Iterator[None]:
        before, at_work[0] = at_work[0], True
        yield
        at_work[0] = before

    class Watched(Script):
        def prepare(self, audio: Audio, options: TranscribeOptions, *, previous: tuple[int, ...] = ()) -> Work:
            seen.append(("prepare", at_work[0]))
            return super().prepare(audio, options, previous=previous)

        def answer(self, work: Work) -> Result:
            seen.append(("decode", at_work[0]))
            return super().answer(work)

    def speech() -> Iterator[Window]:
        for each in WINDOWS:
            seen.append(("listen", at_work[0]))
            yield each

    engine = Watched(says={0.2: [{"rest": 3.0}]})
    line = Line(engine)
    _, parts = windowed.decode(
        engine, speech(), TranscribeOptions(), submit=line.submit, ahead=lambda: 2, working=working
    )
    assert len(list(parts)) == 5
    assert set(seen) == {("listen", True), ("prepare", True), ("decode", False)}


def test_the_rest_of_a_window_comes_before_the_next_one() -> None:
    engine = Script(says={0.1: [{"rest": 5.0, "segments": [Segment(start=0.0, end=6.0, text=" a")]}]})
    _, parts, firsts = run(engine, language="en", ahead=2)
    assert texts(parts) == [" a", " 0.105", " 0.2", " 0.3", " 0.4"]
    assert [part.done for part in parts] == [9, 11, 26, 31, 45]
    assert [(part.segments[0].start, part.segments[0].end) for part in parts][:2] == [(1, 9), (9, 11)]
    assert firsts.count(True) == 1
    assert [work.seconds for work in engine.prepared if work.name == pytest.approx(0.105)] == [2.0]


@pytest.mark.parametrize("rest", [0.0, -1.0, 5.95, 6.0, 99.0])
def test_a_rest_that_leads_nowhere_is_none(rest: float) -> None:
    _, parts, firsts = run(Script(says={0.2: [{"rest": rest}]}), language="en")
    assert texts(parts) == [" 0.1", " 0.2", " 0.3", " 0.4"]
    assert firsts == [False] * 4


def test_words_are_moved_one_by_one_and_the_segment_ends_with_them() -> None:
    words = (Word(" one", 3.0, 3.5), Word(" two", 4.2, 5.0))
    said = Segment(start=2.0, end=6.5, text=" one two", words=words, seek=400)
    _, parts, _ = run(Script(says={0.1: [{"segments": [said]}]}), language="en")
    (segment,) = parts[0].segments
    assert [(word.start, word.end) for word in segment.words] == [(4.0, 4.5), (pytest.approx(8.2), pytest.approx(9.0))]
    assert [segment.start, segment.end, segment.seek] == pytest.approx([4.0, 9.0, 800])


def test_words_that_are_not_the_text_are_replaced() -> None:
    said = Segment(start=1.0, end=3.0, text=" one two", words=(Word(" one", 1.0, 2.0),))
    _, parts, _ = run(Script(says={0.2: [{"segments": [said]}]}), language="en")
    assert [(word.word, word.start, word.end) for word in parts[1].segments[0].words] == [
        (" one", 21.0, 22.0),
        (" two", 22.0, 23.0),
    ]


def test_a_text_that_ends_in_the_padding_behind_a_cut_ends_before_it() -> None:
    said = [Segment(start=0.0, end=4.3, text=" a"), Segment(start=3.8, end=7.0, text=" b")]
    _, parts, _ = run(Script(says={0.1: [{"segments": said}]}), language="en")
    assert [(segment.start, segment.end) for segment in parts[0].segments] == [(1, 5), (8, 11)]
    says: Any = {0.1: [{"segments": said}]}
    _, parts, _ = run(Script(says=says), language="en", vad=VadOptions(speech_pad_ms=0))
    assert parts[0].segments[0].end == pytest.approx(8.3)


def test_a_moment_of_speech_is_not_worth_a_window() -> None:
    engine = Script()
    moments = [window(0.1, (0, 0.05)), window(0.2, (1, 2))]
    _, parts = windowed.decode(engine, iter(moments), TranscribeOptions(), submit=Line(engine).submit, ahead=lambda: 2)
    assert texts(list(parts)) == [" 0.2"]
    assert [work.name for work in engine.prepared] == [0.2]


def test_closing_takes_no_further_windows() -> None:
    engine = Script()
    options = TranscribeOptions(language="en")
    _, parts = windowed.decode(engine, iter(WINDOWS), options, submit=Line(engine).submit, ahead=lambda: 1)
    next(parts)
    parts.close()
    assert next(parts, None) is None
    assert len(engine.prepared) == 1


def test_closing_before_the_first_part_ends_the_work() -> None:
    ended = []

    def said() -> Generator[tuple[LanguageGuess, Part], None, None]:
        try:
            while True:
                yield LanguageGuess("en"), Part((), 1.0)
        finally:
            ended.append(True)

    source = said()
    _, parts = windowed.begun(source, TranscribeOptions())
    parts.close()
    assert ended
    assert next(parts, None) is None


def test_what_the_engine_raises_comes_through() -> None:
    class Broken(Script):
        def answer(self, work: Work) -> Result:
            raise MemoryError(work.name)

    engine = Broken()
    with pytest.raises(MemoryError):
        engine.transcribe(Audio(np.full(RATE, 0.1, np.float32), RATE), TranscribeOptions(vad=None))
