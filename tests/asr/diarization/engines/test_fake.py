"""The fake diarizer does what tests of the services need: turns by the clock, voices by their tones, and failures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.clip import Clip
from asr.diarization.engine import SAMPLE_RATE, Diarization, DiarizeOptions, Turn, Vector
from asr.diarization.engines.fake import FakeDiarizer
from core.engines import EngineContext
from core.errors import ConfigurationError, InsufficientMemory, InvalidAudio
from utils.audio.pcm import Samples
from utils.audio.spans import Span


def tone(frequency: float, seconds: float = 2.0, *, loudness: float = 0.2) -> Samples:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (loudness * np.sin(2 * np.pi * frequency * times)).astype(np.float32)


ANN, BEN, SILENCE = tone(220), tone(330), np.zeros(2 * SAMPLE_RATE, dtype=np.float32)
TALK = np.concatenate([ANN, BEN, SILENCE, BEN, ANN[: SAMPLE_RATE // 2]])


def engine(**options: Any) -> FakeDiarizer:
    made = FakeDiarizer(EngineContext(options=options))
    made.load()
    return made


def diarize(made: FakeDiarizer, samples: Samples = TALK, **options: Any) -> Diarization:
    return made.diarize(Clip(samples), DiarizeOptions(**options), progress=lambda _: None)


def apart(one: Vector, other: Vector) -> float:
    return float(1 - one @ other)


def test_two_take_turns_where_it_is_not_silent() -> None:
    wanted = (Turn(0, 2, 0), Turn(2, 4, 1), Turn(6, 8, 1), Turn(8, 8.5, 0))
    assert diarize(engine()).turns == diarize(engine()).exclusive == wanted


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"num_speakers": 1}, 1),
        ({"num_speakers": 3}, 3),
        ({"min_speakers": 3}, 3),
        ({"max_speakers": 1}, 1),
        ({"min_speakers": 1, "max_speakers": 4}, 2),
        ({"num_speakers": 99}, 4),  # so many turns are there
    ],
)
def test_there_are_as_many_as_a_request_says(options: dict[str, int], count: int) -> None:
    found = diarize(engine(), np.concatenate([ANN, BEN, BEN, ANN]), **options)
    assert found.speakers == tuple(range(count))
    assert set(found.embeddings) == set(found.speakers)


def test_turns_of_one_speaker_are_joined() -> None:
    assert diarize(engine(speakers=1)).turns == (Turn(0, 4, 0), Turn(6, 8.5, 0))
    assert diarize(engine(), min_on=1).turns[-1] == Turn(6, 8, 1)


def test_turns_can_overlap() -> None:
    found = diarize(engine(overlap=0.5))
    assert found.turns[:2] == (Turn(0, 2.5, 0), Turn(2, 4.5, 1))
    assert found.turns[-1].end == 8.5
    assert found.exclusive[:2] == (Turn(0, 2, 0), Turn(2, 4, 1))


def test_a_voice_is_known_by_its_tone() -> None:
    made = engine()
    limit = made.facts.verify
    voices = diarize(made).embeddings
    assert apart(made.embed(ANN[:16_000]), voices[0]) < limit / 2
    assert apart(made.embed(tone(330, 0.5, loudness=0.02)), voices[1]) < limit / 2
    assert apart(voices[0], voices[1]) > 2 * limit
    assert apart(made.embed(tone(440)), voices[1]) > 2 * limit


@pytest.mark.parametrize("samples", [ANN[:7999], SILENCE, SILENCE[:0]])
def test_too_little_has_no_voice(samples: Samples) -> None:
    with pytest.raises(InvalidAudio):
        engine().embed(samples)


def test_speech_is_what_is_not_silent() -> None:
    shares: list[float] = []
    assert engine().speech(Clip(TALK), progress=shares.append) == [Span(0, 4), Span(6, 8.5)]
    assert shares[-1] == 1
    assert engine().speech(Clip(SILENCE), progress=shares.append) == []
    assert engine().speech(Clip(SILENCE[:0]), progress=shares.append) == []


def test_it_fails_as_told() -> None:
    with pytest.raises(ConfigurationError):
        engine(load_fails=True)
    with pytest.raises(InsufficientMemory):
        diarize(engine(fail="out_of_memory"))
    with pytest.raises(RuntimeError):
        diarize(engine(fail="error"))
