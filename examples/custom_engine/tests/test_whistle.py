"""Engines are plain Python: they need no service to be tested."""

from __future__ import annotations

import numpy as np
import pytest
from voice_stack import (
    Audio,
    DiarizeOptions,
    EngineContext,
    InvalidRequest,
    SpeechOptions,
    TranscribeOptions,
    UnsupportedParameter,
    Voice,
)

from whistle.alphabet import LETTERS, RATE
from whistle.asr import WhistleReader
from whistle.diarizer import WhistlerFinder
from whistle.tts import Whistler

TEXT = "the quick brown fox jumps over 13 lazy dogs"


def reader(**options: object) -> WhistleReader:
    engine = WhistleReader(EngineContext(options=options))
    engine.load()
    return engine


def spoken(text: str, voice: int = 0, speed: float = 1.0) -> Audio:
    engine = Whistler(EngineContext())
    engine.load()
    chunks = list(engine.synthesize(text, engine.voices()[voice], SpeechOptions(speed=speed)))
    return Audio(np.concatenate([chunk.samples for chunk in chunks]), RATE)


def text_of(audio: Audio, **options: object) -> str:
    return "".join(segment.text for segment in reader().transcribe(audio, TranscribeOptions(**options)).segments)


@pytest.mark.parametrize("voice", [0, 1])
@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_it_reads_what_it_whistles(voice: int, speed: float) -> None:
    assert text_of(spoken(TEXT, voice, speed)) == f" {TEXT}"


@pytest.mark.parametrize("voice", [0, 1])
def test_every_letter_is_read(voice: int) -> None:
    assert text_of(spoken(LETTERS, voice)) == f" {LETTERS}"


def test_words_are_the_text_and_never_go_back() -> None:
    audio = spoken(TEXT)
    found = list(reader().transcribe(audio, TranscribeOptions(word_timestamps=True)).segments)
    assert "".join(word.word for segment in found for word in segment.words) == f" {TEXT}"
    times = [time for segment in found for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert times[-1] <= audio.duration


def test_silence_is_no_speech() -> None:
    found = reader().transcribe(Audio(np.zeros(RATE, np.float32), RATE), TranscribeOptions())
    assert found.language is None
    assert list(found.segments) == []


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(UnsupportedParameter):
        reader().transcribe(spoken("sos"), TranscribeOptions(prompt="Titanic"))
    with pytest.raises(ValueError, match="threshold"):
        reader(threshold=2)
    engine = Whistler(EngineContext())
    with pytest.raises(InvalidRequest):
        list(engine.synthesize("hello", Voice(id="nobody", name="nobody"), SpeechOptions()))
    with pytest.raises(InvalidRequest):
        engine.check("…", engine.voices()[0], SpeechOptions())


class Memory:
    """A recording in memory."""

    channels = 1

    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples
        self.length = len(samples)

    def read(self, start: int, stop: int, *, channel: int | None = None) -> np.ndarray:
        return self._samples[start:stop]


def test_whistlers_take_turns() -> None:
    pause = np.zeros(RATE // 2, np.float32)
    parts = [spoken("good morning", 1).samples, pause, spoken("hello", 0).samples, pause, spoken("bye", 1).samples]
    done: list[float] = []
    engine = WhistlerFinder(EngineContext())
    found = engine.diarize(Memory(np.concatenate(parts)), DiarizeOptions(), progress=done.append)
    assert [turn.speaker for turn in found.turns] == [0, 1, 0]
    assert found.exclusive == found.turns
    assert done[-1] == 1.0
    silent = engine.diarize(Memory(np.zeros(RATE, np.float32)), DiarizeOptions(), progress=done.append)
    assert silent.turns == ()
