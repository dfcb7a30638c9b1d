"""Filter bank energies, and the encoder's frames of a recording of any length, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.clip import Clip
from asr.diarization.engine import SAMPLE_RATE
from asr.diarization.fbank import FRAME, MELS, SHIFT, fbank, frames_of
from asr.diarization.stats import FRAME_SECONDS, STRIDE, FrameBuffer, Frames, Projection, encoded, level
from utils.audio.pcm import Samples

NOISE: Samples = np.random.default_rng(5).normal(0, 0.1, 47 * SAMPLE_RATE + 321).astype(np.float32)


def tone(frequency: float, seconds: float = 0.5) -> Samples:
    return (0.1 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(
        np.float32
    )


class TestFbank:
    @pytest.mark.parametrize(
        ("samples", "frames"), [(0, 0), (FRAME - 1, 0), (FRAME, 1), (FRAME + SHIFT - 1, 1), (FRAME + SHIFT, 2)]
    )
    def test_frames_fit_whole(self, samples: int, frames: int) -> None:
        assert frames_of(samples) == frames
        assert fbank(NOISE[:samples]).shape == (frames, MELS)

    def test_a_higher_tone_is_in_a_higher_band(self) -> None:
        bands = [int(fbank(tone(frequency)).mean(axis=0).argmax()) for frequency in (200, 500, 1000, 3000, 7000)]
        assert bands == sorted(set(bands))
        # Of 80 bands between 20 Hz and 8 kHz, even on the mel scale, 1 kHz is in the middle of the 27th.
        assert abs(bands[2] - 27) <= 1

    def test_ten_times_as_loud_is_four_point_six_more(self) -> None:
        apart = fbank(NOISE[:8000] * 10) - fbank(NOISE[:8000])
        assert apart == pytest.approx(np.full(apart.shape, np.log(100)), abs=1e-2)

    def test_an_offset_is_not_heard(self) -> None:
        assert fbank(NOISE[:8000] + np.float32(0.2)) == pytest.approx(fbank(NOISE[:8000]), abs=0.05)

    def test_silence_is_finite_and_the_samples_are_left(self) -> None:
        samples = np.zeros(4000, dtype=np.float32)
        assert np.isfinite(fbank(samples)).all()
        assert not samples.any()


class TestProjection:
    PROJECT = Projection(np.eye(6, dtype=np.float32), np.zeros(6, dtype=np.float32))
    FRAMES = np.random.default_rng(6).normal(size=(10, 3)).astype(np.float32)

    def test_mean_and_deviation_of_the_frames_of_a_voice(self) -> None:
        weights = np.zeros((2, 10), dtype=np.float32)
        weights[0, 2:7], weights[1, :] = 1, 1
        one, every = self.PROJECT(self.FRAMES, weights)
        assert one[:3] == pytest.approx(self.FRAMES[2:7].mean(axis=0), abs=1e-5)
        assert one[3:] == pytest.approx(self.FRAMES[2:7].std(axis=0, ddof=1), abs=1e-4)
        assert every[3:] == pytest.approx(self.FRAMES.std(axis=0, ddof=1), abs=1e-4)

    def test_a_voice_that_is_not_there_has_no_vector(self) -> None:
        assert np.isnan(self.PROJECT(self.FRAMES, np.zeros((1, 10), dtype=np.float32))).all()

    def test_one_frame_has_a_finite_vector(self) -> None:
        weights = np.eye(1, 10, dtype=np.float32)
        assert np.isfinite(self.PROJECT(self.FRAMES, weights)).all()


class TestEncoded:
    def encode(self, energies: Frames) -> Frames:
        """An encoder that keeps every eighth frame."""
        return energies[::STRIDE]

    def test_blocks_are_the_whole(self) -> None:
        mean = level(Clip(NOISE), lambda _: None)
        found = np.concatenate(list(encoded(Clip(NOISE), self.encode, mean)))
        assert found == pytest.approx((fbank(NOISE) - mean)[::STRIDE], abs=1e-3)

    def test_the_level_is_the_mean(self) -> None:
        shares: list[float] = []
        assert level(Clip(NOISE), shares.append) == pytest.approx(fbank(NOISE).mean(axis=0)[None], abs=1e-3)
        assert all(0 <= share <= 1 for share in shares)

    @pytest.mark.parametrize("samples", [0, FRAME - 1])
    def test_hardly_any_audio_has_no_frames(self, samples: int) -> None:
        clip = Clip(NOISE[:samples])
        assert list(encoded(clip, self.encode, level(clip, lambda _: None))) == []


class TestFrameBuffer:
    def blocks(self) -> Iterator[Frames]:
        for first in range(0, 1000, 250):
            self.made = first + 250
            yield np.arange(first, first + 250, dtype=np.float32)[:, None]

    def test_frames_are_those_between_two_seconds(self) -> None:
        buffer = FrameBuffer(self.blocks())
        for start, end in ((0.0, 0.8), (0.0, 8.0), (16.0, 24.0), (19.2, 28.0), (60.0, 61.6)):
            found = buffer.between(start, end)[:, 0].tolist()
            assert found == list(range(round(start / FRAME_SECONDS), round(end / FRAME_SECONDS)))

    def test_no_more_is_computed_than_is_asked_for(self) -> None:
        buffer = FrameBuffer(self.blocks())
        buffer.between(0, 10)
        assert self.made == 250

    def test_at_the_end_there_are_fewer(self) -> None:
        buffer = FrameBuffer(self.blocks())
        assert len(buffer.between(79.2, 90.0)) == 10
        assert len(buffer.between(85.0, 90.0)) == 0

    def test_nothing_at_all_has_no_frames(self) -> None:
        assert len(FrameBuffer(iter(())).between(0, 5)) == 0
