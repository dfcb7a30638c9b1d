"""A PCM file as a recording: read anywhere it is the whole file resampled, outside it is silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr.diarization.engine import SAMPLE_RATE
from asr.diarization.recording import PcmRecording
from utils.audio.pcm import Audio, PcmFile
from utils.audio.resample import resample


def pcm_file(folder: Path, seconds: float, *, rate: int, channels: int = 1) -> PcmFile:
    """Write noise below 2 kHz, another in each channel."""
    frames = round(seconds * rate)
    noise = np.random.default_rng(rate).normal(0, 1, (frames, channels))
    kernel = np.hanning(rate // 2000)[:, None] / (rate // 4000)
    smooth = np.stack([np.convolve(noise[:, each], kernel[:, 0], "same") for each in range(channels)], axis=1)
    path = folder / f"{rate}-{channels}.s16"
    path.write_bytes((smooth / np.abs(smooth).max() * 16_000).astype("<i2").tobytes())
    return PcmFile(path, frames, rate, channels)


def test_at_16_khz_the_samples_are_those_of_the_file(tmp_path: Path) -> None:
    pcm = pcm_file(tmp_path, 3, rate=SAMPLE_RATE, channels=2)
    recording = PcmRecording(pcm)
    assert (recording.length, recording.channels) == (3 * SAMPLE_RATE, 2)
    np.testing.assert_array_equal(recording.read(100, 5000), pcm.read(100, 5000))
    left, right = recording.read(0, 1000, channel=0), recording.read(0, 1000, channel=1)
    assert np.abs(left - right).max() > 0.01
    np.testing.assert_allclose((left + right) / 2, recording.read(0, 1000), atol=1e-6)


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_what_lies_outside_is_silence(tmp_path: Path, rate: int) -> None:
    recording = PcmRecording(pcm_file(tmp_path, 2, rate=rate))
    length = recording.length
    around = recording.read(-1000, length + 1000)
    assert around.dtype == np.float32
    assert len(around) == length + 2000
    assert not around[:1000].any()
    assert not around[-1000:].any()
    np.testing.assert_array_equal(around[1000:-1000], recording.read(0, length))
    assert not recording.read(length + 10, length + 20).any()
    assert len(recording.read(50, 50)) == len(recording.read(50, 10)) == 0


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_any_part_is_that_of_the_whole_resampled(tmp_path: Path, rate: int) -> None:
    pcm = pcm_file(tmp_path, 45.7, rate=rate)
    whole = resample(Audio(pcm.read(), rate), SAMPLE_RATE).samples
    recording = PcmRecording(pcm)
    assert abs(recording.length - len(whole)) <= 1
    end = min(recording.length, len(whole))
    # Within a block, over the edges of blocks, backwards, over several, up to the end.
    for start, stop in ((5_000, 9_000), (319_000, 322_000), (639_990, 640_010), (100, 700), (0, end), (end - 500, end)):
        np.testing.assert_allclose(recording.read(start, stop), whole[start:stop], atol=1e-3)


def test_channels_are_resampled_apart(tmp_path: Path) -> None:
    pcm = pcm_file(tmp_path, 25, rate=44_100, channels=2)
    recording = PcmRecording(pcm)
    right = resample(Audio(pcm.read(channel=1), 44_100), SAMPLE_RATE).samples
    np.testing.assert_allclose(recording.read(310_000, 330_000, channel=1), right[310_000:330_000], atol=1e-3)
    assert np.abs(recording.read(310_000, 330_000, channel=0) - right[310_000:330_000]).max() > 0.01


def test_what_was_read_can_be_changed_without_changing_the_recording(tmp_path: Path) -> None:
    recording = PcmRecording(pcm_file(tmp_path, 3, rate=44_100))
    first = recording.read(0, 1000)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(recording.read(0, 1000), kept)


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.s16"
    path.write_bytes(b"")
    recording = PcmRecording(PcmFile(path, 0, 44_100))
    assert recording.length == 0
    assert not recording.read(0, 100).any()
