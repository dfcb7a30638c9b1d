from __future__ import annotations

import numpy as np
import pytest

from utils.audio.levels import FRAME_SECONDS, amplitude, clipped_share, loudness, sounding
from utils.audio.pcm import Audio

RATE = 24_000


def sine(peak: float, seconds: float = 1.0, hertz: float = 220.0) -> Audio:
    times = np.arange(round(seconds * RATE)) / RATE
    return Audio((peak * np.sin(2 * np.pi * hertz * times)).astype(np.float32), RATE)


def test_the_loudness_of_a_sine_is_its_rms() -> None:
    rms = loudness(sine(0.5))
    assert len(rms) == round(1 / FRAME_SECONDS)
    assert rms == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_decibels() -> None:
    assert amplitude(-20) == pytest.approx(0.1)
    assert amplitude(0) == 1


def test_nothing_is_heard_in_nothing() -> None:
    assert loudness(Audio(np.zeros(0, dtype=np.float32), RATE)).size == 0
    assert not sounding(loudness(Audio(np.zeros(0, dtype=np.float32), RATE))).any()
    assert not sounding(loudness(Audio(np.zeros(RATE, dtype=np.float32), RATE))).any()


def test_what_is_heard_depends_on_the_loudest() -> None:
    noise = np.random.default_rng(1).normal(0, 0.004, RATE).astype(np.float32)
    assert sounding(loudness(Audio(noise, RATE))).all(), "alone it is quiet speech"
    both = sounding(loudness(Audio(np.concatenate([noise, sine(0.8).samples]), RATE)))
    assert not both[: len(both) // 2].any(), "beside speech it is the room"
    assert both[len(both) // 2 :].all()


def test_flat_tops_are_clipped_and_peaks_are_not() -> None:
    assert clipped_share(sine(1.0)) == 0
    loud = sine(2.0)
    assert clipped_share(Audio(np.clip(loud.samples, -1, 1), RATE)) == pytest.approx(2 / 3, abs=0.02)
    assert clipped_share(Audio(np.ones(2, dtype=np.float32), RATE)) == 0
