"""Known voices: who is whom in a diarization, and what is said of a recording that is no voice."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from asr.diarization.engine import Diarization, EncoderFacts, Turn, Vector, Voiceprint
from asr.diarization.known import KnownVoice, matched, voices
from asr.diarization.service import Diarizer
from core.errors import InvalidAudio
from core.model_entry import ModelRef
from utils.audio.pcm import PcmFile

FACTS = EncoderFacts(model="test", size=2, verify=0.2, identify=0.3)
MODEL = ModelRef(id="test", task="speaker-diarization", engine="test", weightless=True)


def vector(degrees: float) -> Vector:
    angle = np.deg2rad(degrees)
    return np.asarray([np.cos(angle), np.sin(angle)], dtype=np.float32)


def voice(name: str, degrees: float, *, within: float = 0.3) -> KnownVoice:
    return KnownVoice(name=name, vector=tuple(vector(degrees).tolist()), within=within)


def speakers(*degrees: float) -> dict[int, Vector]:
    return {number: vector(each) for number, each in enumerate(degrees)}


def test_a_name_goes_to_the_nearest_voice() -> None:
    known = [voice("Ann", 5), voice("Bo", 88)]
    assert matched(speakers(0, 90), known) == {0: "Ann", 1: "Bo"}
    assert matched(speakers(90, 0), known) == {1: "Ann", 0: "Bo"}


def test_a_voice_that_is_too_far_away_is_nobodys() -> None:
    # The cosine distance of 46 degrees is 0.305, of 45 it is 0.293.
    assert matched(speakers(0, 46, 90), [voice("Ann", 0)]) == {0: "Ann"}
    assert matched(speakers(46), [voice("Ann", 0)]) == {}
    assert matched(speakers(45), [voice("Ann", 0)]) == {0: "Ann"}
    assert matched(speakers(45), [voice("Ann", 0, within=0.2)]) == {}


def test_nobody_is_two_speakers_and_nobody_has_two_names() -> None:
    assert matched(speakers(10, 2), [voice("Ann", 0)]) == {1: "Ann"}
    assert matched(speakers(0), [voice("Ann", 10), voice("Bo", 5)]) == {0: "Bo"}


def test_the_nearest_voices_find_each_other_first() -> None:
    assert matched(speakers(0, 30), [voice("Ann", 20), voice("Bo", 60)]) == {1: "Ann"}


def test_of_several_recordings_of_one_name_the_nearest_counts() -> None:
    known = [voice("Ann", 80), voice("Bo", 90), voice("Ann", 2)]
    assert matched(speakers(0, 85), known) == {0: "Ann", 1: "Bo"}


def test_without_voices_on_either_side_nobody_is_named() -> None:
    assert matched({}, [voice("Ann", 0)]) == {}
    assert matched(speakers(0), []) == {}


# --- recordings


class _Ear:
    """Stands for a Diarizer whose encoder knows what it will hear."""

    def __init__(self, *degrees: float | None) -> None:
        self._heard = iter(degrees)

    async def embed(self, audio: PcmFile, *, model: ModelRef) -> Voiceprint:
        degrees = next(self._heard)
        if degrees is None:
            raise InvalidAudio("there is too little speech", param="file")
        return Voiceprint(vector(degrees), audio.duration, FACTS)


def references(*names: str) -> list[tuple[str, PcmFile]]:
    return [(name, PcmFile(Path(name), frames=32_000, sample_rate=16_000)) for name in names]


def ear(*degrees: float | None) -> Diarizer:
    return cast("Diarizer", _Ear(*degrees))


async def test_recordings_become_voices() -> None:
    found = await voices(ear(0, 90), references("Ann", "Bo"), MODEL)
    assert [each.name for each in found] == ["Ann", "Bo"]
    assert found[1].vector == pytest.approx((0.0, 1.0), abs=1e-6)
    assert all(each.within == FACTS.identify for each in found)


async def test_a_recording_without_a_voice_is_named() -> None:
    with pytest.raises(InvalidAudio) as caught:
        await voices(ear(0, None), references("Ann", "Bo"), MODEL)
    assert caught.value.param == "known_speaker_references"
    assert caught.value.message == "known_speaker_references[1]: there is too little speech"


async def test_speakers_of_a_diarization_are_named() -> None:
    turns = tuple(Turn(float(number), number + 1.0, number) for number in range(3))
    for order in itertools.permutations((0.0, 60.0, 120.0)):
        found = Diarization(turns=turns, exclusive=turns, embeddings=speakers(*order))
        known = await voices(ear(61, 1), references("Ann", "Bo"), MODEL)
        assert matched(found.embeddings, known) == {order.index(60.0): "Ann", order.index(0.0): "Bo"}
