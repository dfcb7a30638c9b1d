import numpy as np
import pytest

from utils.audio.amplify import MAX_GAIN, TARGET, gain
from utils.audio.pcm import Audio

RATE = 16_000


def noise(level: float, seconds: float = 5.0) -> Audio:
    samples = np.random.default_rng(0).normal(0, level, round(seconds * RATE)).astype(np.float32)
    return Audio(samples, RATE)


def amplified(audio: Audio) -> Audio:
    return Audio(audio.samples * np.float32(gain([audio.samples], audio.sample_rate)), audio.sample_rate)


def rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio.samples))))


@pytest.mark.parametrize("level", [0.015, 0.03, 0.06])
def test_quiet_speech_comes_to_the_target(level: float) -> None:
    assert rms(amplified(noise(level))) == pytest.approx(TARGET, rel=0.15)


def test_it_does_not_matter_how_the_blocks_come() -> None:
    samples = noise(0.03, 7.9).samples
    whole = gain([samples], RATE)
    assert whole > 1.0
    assert gain([samples[: 2 * RATE], samples[2 * RATE : 4 * RATE], samples[4 * RATE :]], RATE) == pytest.approx(whole)
    assert gain([], RATE) == 1.0


def test_near_silence_is_not_blown_up_to_speech() -> None:
    assert rms(amplified(noise(0.001))) == pytest.approx(0.001 * MAX_GAIN, rel=0.05)


def test_pauses_do_not_make_loud_speech_louder() -> None:
    spoken = noise(0.15, 1.0)
    paused = Audio(np.concatenate([np.zeros(9 * RATE, np.float32), spoken.samples]), RATE)
    assert gain([paused.samples], RATE) == 1.0


def test_nothing_is_clipped_and_the_input_stays() -> None:
    samples = noise(0.01).samples
    samples[100] = -0.5
    before = samples.copy()
    found = amplified(Audio(samples, RATE)).samples
    assert np.abs(found).max() == pytest.approx(1.0)
    assert np.array_equal(samples, before)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(RATE), np.full(10, np.nan), np.array([0.5, np.inf] * 9)])
def test_what_cannot_be_measured_stays_as_it_is(samples: np.ndarray) -> None:
    assert gain([samples.astype(np.float32)], RATE) == 1.0
