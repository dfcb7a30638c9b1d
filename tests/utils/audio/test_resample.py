from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from utils.audio.pcm import Audio, Samples
from utils.audio.resample import Resampler, resample


def tone(rate: int, seconds: float = 2.0, level: float = 0.5) -> Samples:
    return (level * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44_100, 16_000), (8_000, 16_000), (22_050, 24_000), (24_000, 8_000)]
)
def test_tone_keeps_pitch_level_and_length(from_rate: int, to_rate: int) -> None:
    done = resample(Audio(tone(from_rate), from_rate), to_rate)
    assert done.sample_rate == to_rate
    assert done.samples.dtype == np.float32
    assert done.duration == pytest.approx(2.0, abs=0.001)
    middle = slice(to_rate // 2, to_rate)
    assert np.allclose(done.samples[middle], tone(to_rate)[middle], atol=2e-3)


def test_pieces_of_any_size_equal_the_whole() -> None:
    samples = tone(44_100)
    whole = Resampler(44_100, 16_000).feed(samples, last=True)
    stream = Resampler(44_100, 16_000)
    cuts = [0, 1, 1000, 1000, 30_000, 88_199, len(samples)]
    pieces = [stream.feed(samples[a:b], last=b == len(samples)) for a, b in pairwise(cuts)]
    assert np.allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_nothing_new_at_the_end_still_returns_what_was_held_back() -> None:
    stream = Resampler(44_100, 16_000)
    first = stream.feed(tone(44_100))
    rest = stream.feed(np.zeros(0, dtype=np.float32), last=True)
    assert len(first) + len(rest) == pytest.approx(32_000, abs=1)


def test_equal_rates_change_nothing() -> None:
    audio = Audio(tone(16_000), 16_000)
    assert resample(audio, 16_000) is audio
    assert np.array_equal(Resampler(16_000, 16_000).feed(audio.samples, last=True), audio.samples)


def test_full_scale_square_stays_within_bounds() -> None:
    square = np.sign(tone(44_100)).astype(np.float32)
    assert np.abs(resample(Audio(square, 44_100), 16_000).samples).max() <= 1.0
