"""One speaker per channel: real speech in one channel, in the other, in both, and leaking from one into the other."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.clip import Clip
from asr.diarization.engine import SAMPLE_RATE, Diarization, DiarizeOptions
from asr.diarization.engines.channels import ChannelsEngine
from core.engines import EngineContext
from core.errors import InvalidAudio
from utils.audio.pcm import Samples


@pytest.fixture(scope="module")
def speech(speech_data: Path) -> Samples:
    """Eleven seconds."""
    samples, rate = soundfile.read(speech_data / "en" / "jfk.wav", dtype="float32")
    assert rate == SAMPLE_RATE
    return samples


@pytest.fixture(scope="module")
def engine() -> ChannelsEngine:
    made = ChannelsEngine(EngineContext())
    made.load()
    return made


def in_turn(speech: Samples, *, leak: float = 0.0) -> Samples:
    """The right channel's speaker talks, then the left one's; each leaks into the other, `leak` times as loud."""
    silence = np.zeros_like(speech)
    left, right = np.concatenate([silence, speech]), np.concatenate([speech, silence])
    return np.stack([left + leak * right, right + leak * left], axis=1).astype(np.float32)


def diarize(engine: ChannelsEngine, samples: Samples, **options: Any) -> Diarization:
    return engine.diarize(Clip(samples), DiarizeOptions(**options), progress=lambda _: None)


@pytest.mark.parametrize("leak", [0.0, 0.05])
def test_each_channel_is_a_speaker(engine: ChannelsEngine, speech: Samples, leak: float) -> None:
    found = diarize(engine, in_turn(speech, leak=leak))
    half = len(speech) / SAMPLE_RATE
    assert {turn.speaker for turn in found.turns if turn.end <= half + 0.5} == {0}
    assert {turn.speaker for turn in found.turns if turn.start >= half - 0.5} == {1}
    talked = sum(turn.end - turn.start for turn in found.turns)
    assert 0.5 * 2 * half < talked < 2 * half
    assert found.embeddings == {}


def test_a_loud_leak_is_a_speaker_of_the_channel(engine: ChannelsEngine, speech: Samples) -> None:
    found = diarize(engine, in_turn(speech, leak=0.5))
    half = len(speech) / SAMPLE_RATE
    assert {turn.speaker for turn in found.turns if turn.end < half} == {0, 1}


def test_two_can_talk_at_once(engine: ChannelsEngine, speech: Samples) -> None:
    pause = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    both = np.stack([np.concatenate([speech, pause]), np.concatenate([pause, speech])], axis=1)
    found = diarize(engine, both)
    overlaps = [one for one, other in pairwise(found.turns) if other.start < one.end and one.speaker != other.speaker]
    assert overlaps
    assert found.speakers == (0, 1)
    assert {turn.speaker for turn in found.exclusive} == {0, 1}
    assert all(one.end <= other.start for one, other in pairwise(found.exclusive))


def test_one_channel_is_not_enough(engine: ChannelsEngine, speech: Samples) -> None:
    with pytest.raises(InvalidAudio, match="one channel") as caught:
        diarize(engine, speech)
    assert caught.value.param == "file"


def test_copies_of_one_channel_are_not_two_speakers(engine: ChannelsEngine, speech: Samples) -> None:
    with pytest.raises(InvalidAudio, match="same sound"):
        diarize(engine, np.stack([speech, speech], axis=1))


def test_short_turns_are_dropped(engine: ChannelsEngine, speech: Samples) -> None:
    found = diarize(engine, in_turn(speech), min_on=1.0)
    assert all(turn.end - turn.start >= 1.0 for turn in (*found.turns, *found.exclusive))
    assert {turn.speaker for turn in found.exclusive} <= set(found.speakers)
