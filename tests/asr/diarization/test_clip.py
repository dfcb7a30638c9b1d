"""A recording in memory is read anywhere, one channel or their average, and is silent outside."""

from __future__ import annotations

import numpy as np

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.clip import Clip


def test_what_lies_outside_is_silence() -> None:
    clip = Clip(np.array([1, 2, 3], dtype=np.float32))
    assert (clip.length, clip.channels) == (3, 1)
    assert clip.read(-2, 5).tolist() == [0, 0, 1, 2, 3, 0, 0]
    assert clip.read(1, 2).tolist() == [2]
    assert clip.read(5, 7).tolist() == [0, 0]
    assert clip.read(-3, -1).tolist() == [0, 0]
    assert clip.read(2, 2).tolist() == clip.read(2, 1).tolist() == []


def test_a_channel_or_the_average_of_all() -> None:
    clip = Clip(np.array([[1, 3], [2, 6]], dtype=np.float32))
    assert (clip.length, clip.channels) == (2, 2)
    assert clip.read(0, 2).tolist() == [2, 4]
    assert clip.read(0, 3, channel=1).tolist() == [3, 6, 0]
    assert clip.read(0, 2).dtype == np.float32
