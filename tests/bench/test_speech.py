"""Recordings joined from clips whose words are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import speech
from bench.speech import Clip


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    found = []
    for number, seconds in enumerate((1.0, 2.0, 3.0)):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.full(round(seconds * 16_000), 0.1 * (number + 1)), 16_000)
        found.append(Clip(path, seconds, f"word{number}"))
    return found


def test_a_recording_has_only_whole_clips_and_says_what_is_in_it(clips: list[Clip], tmp_path: Path) -> None:
    made = speech.recording(clips, tmp_path / "long.flac", 30.0)
    samples, rate = soundfile.read(made.path)
    assert len(samples) == 30 * rate
    loud = np.abs(samples) > 0.05
    spoken = sum(clips[int(word.removeprefix("word"))].seconds for word in made.text.split())
    assert loud.sum() / rate == pytest.approx(spoken)
    assert {f"word{number}" for number in range(3)} == set(made.text.split())


def test_after_the_speech_there_is_silence(clips: list[Clip], tmp_path: Path) -> None:
    made = speech.recording(clips, tmp_path / "long.flac", 60.0, speech=6.0)
    samples, rate = soundfile.read(made.path)
    assert len(samples) == 60 * rate
    assert not samples[6 * rate :].any()
    assert made.text


def test_clips_are_chosen_by_length_and_number(clips: list[Clip]) -> None:
    assert speech.between(clips, 1.5, 2.5) == clips[1:2]
    assert speech.some(clips, 2) == [clips[0], clips[2]]
    assert speech.some(clips, 9) == clips


def test_copies_have_the_same_words_in_other_bytes(clips: list[Clip], tmp_path: Path) -> None:
    made = speech.at_least(clips, tmp_path, 8)
    assert [clip.text for clip in made] == ["word0", "word1", "word2"] * 2 + ["word0", "word1"]
    assert len({clip.path.read_bytes() for clip in made}) == 8


def test_beginnings_are_cut(clips: list[Clip], tmp_path: Path) -> None:
    made = speech.cut(clips[1:], tmp_path, 1.5)
    assert [soundfile.info(clip.path).duration for clip in made] == [1.5, 1.5]


def test_the_clips_come_with_their_words() -> None:
    try:
        found = speech.clips()
    except speech.NoSpeech as error:
        pytest.skip(str(error))
    assert len(found) >= 40
    assert all(clip.text.islower() and clip.seconds > 1 for clip in found)
