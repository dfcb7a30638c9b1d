"""Speakers of audio that is still coming; people are told by an offset of the samples, which the VAD does not hear."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import SAMPLE_RATE, Turn, Vector
from asr.diarization.following import Follower
from utils.audio.pcm import Samples

OFFSET = 0.04


def embed(samples: Samples) -> Vector:
    """The vector of a person: another one where the samples have the offset."""
    return np.eye(2, dtype=np.float32)[int(samples.mean() > OFFSET / 2)]


@pytest.fixture
def samples(speech_data: Path) -> Samples:
    """One talks, then another one, then the first again; 33 seconds."""
    speech, rate = soundfile.read(speech_data / "en" / "jfk.wav", dtype="float32")
    assert rate == SAMPLE_RATE
    return np.concatenate([speech, speech + np.float32(OFFSET), speech])


def follower(most: int | None = None) -> Follower:
    return Follower(embed, threshold=0.5, most=most, window=1.5, least=0.5)


def fed(stream: Follower, samples: Samples, block: int) -> Iterator[Turn]:
    for first in range(0, len(samples), block):
        yield from stream.feed(samples[first : first + block], last=first + block >= len(samples))


def test_people_are_told_and_known_again(samples: Samples) -> None:
    found = list(fed(follower(), samples, SAMPLE_RATE // 4))
    third = len(samples) / 3 / SAMPLE_RATE
    # But for windows around the change.
    for part, speaker in enumerate((0, 1, 0)):
        within = [turn for turn in found if part * third + 1.5 < turn.start and turn.end < (part + 1) * third - 1.5]
        assert {turn.speaker for turn in within} == {speaker}
    assert found == sorted(found)
    assert all(one.end <= other.start for one, other in pairwise(found))


@pytest.mark.parametrize("block", [511, 7777])
def test_it_does_not_matter_how_the_audio_comes(samples: Samples, block: int) -> None:
    wanted = [(turn.start, turn.end, turn.speaker) for turn in follower().feed(samples, last=True)]
    assert [(turn.start, turn.end, turn.speaker) for turn in fed(follower(), samples, block)] == wanted


def test_there_are_no_more_than_allowed(samples: Samples) -> None:
    assert {turn.speaker for turn in fed(follower(most=1), samples, SAMPLE_RATE)} == {0}


def test_turns_are_told_while_the_audio_comes(samples: Samples) -> None:
    early = follower().feed(samples[: 6 * SAMPLE_RATE])
    assert early
    assert all(turn.end <= 6 for turn in early)


def test_silence_has_no_turns() -> None:
    assert list(fed(follower(), np.zeros(5 * SAMPLE_RATE, dtype=np.float32), 4000)) == []
    assert follower().feed(np.zeros(0, dtype=np.float32), last=True) == []
