"""Voice activity: real speech is found, silence and noise are not, and cuts fall into pauses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.audio import vad
from utils.audio.pcm import Audio

RATE = 16_000


@pytest.fixture(scope="module")
def speech(speech_data: Path) -> Audio:
    samples, rate = soundfile.read(speech_data / "en" / "beckett.wav", dtype="float32")
    return Audio(samples, rate)


def quiet(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)


def test_speech_between_silence_is_found_where_it_is(speech: Audio) -> None:
    audio = Audio(np.concatenate([quiet(4), speech.samples, quiet(5), speech.samples, quiet(3)]), RATE)
    first, second = vad.speech(audio)
    assert first.start == pytest.approx(4.0, abs=0.5)
    assert first.end <= 4.0 + speech.duration + 0.5
    assert second.start == pytest.approx(9.0 + speech.duration, abs=0.5)
    assert second.end <= audio.duration


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.1])
def test_noise_is_no_speech(level: float) -> None:
    noise = np.random.default_rng(0).normal(0, level, 5 * RATE).astype(np.float32)
    assert vad.speech(Audio(noise, RATE)) == []
    assert vad.speech(Audio(noise[:0], RATE)) == []


def test_other_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="8000"):
        vad.speech(Audio(np.zeros(8000, np.float32), 8000))


def test_the_cut_falls_into_the_longest_pause(speech: Audio) -> None:
    audio = Audio(np.concatenate([speech.samples, quiet(3), speech.samples]), RATE)
    assert speech.duration < vad.find_silence(audio) < speech.duration + 3


def test_the_cut_between_words_falls_where_it_is_quiet(speech: Audio) -> None:
    loud = float(np.abs(speech.samples).max())
    middle = speech.samples[RATE : 9 * RATE]
    at = round(vad.find_silence(Audio(middle, RATE)) * RATE)
    assert np.abs(middle[at - 400 : at + 400]).max() < 0.1 * loud


def test_audio_without_speech_can_be_cut_anywhere() -> None:
    assert 0.0 <= vad.find_silence(Audio(np.zeros(3 * RATE, np.float32), RATE)) <= 3.0
    assert vad.find_silence(Audio(np.zeros(0, np.float32), RATE)) == 0.0
