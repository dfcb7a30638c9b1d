"""Long audio in pieces: nothing lost, nothing doubled, cut where it is silent."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.pieces import Piece, end_of_piece, pieces
from utils.audio.pcm import Audio, PcmFile, Samples

RATE = 1000


def pcm_file(folder: Path, frames: int, *, rate: int = RATE, channels: int = 1, offset: int = 0) -> PcmFile:
    """A file whose frames all differ from their neighbours."""
    path = folder / "audio.s16"
    samples = np.repeat((np.arange(frames) % 30_000).astype("<i2"), channels)
    path.write_bytes(b"\x7f" * offset + samples.tobytes())
    return PcmFile(path, frames, rate, channels, offset)


def cut(pcm: PcmFile, at: float, *, max_seconds: float, search_seconds: float = 2.0, rate: int = RATE) -> list[Piece]:
    return list(
        pieces(
            pcm,
            sample_rate=rate,
            find_silence=lambda audio: at * audio.duration,
            seconds=max_seconds,
            search_seconds=search_seconds,
        )
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    frames=st.integers(0, 20_000),
    max_seconds=st.floats(0.002, 50),
    search_seconds=st.floats(0, 60),
    at=st.floats(0, 1),
    channels=st.integers(1, 3),
    offset=st.sampled_from([0, 44]),
)
def test_pieces_joined_are_the_file(
    tmp_path: Path, frames: int, max_seconds: float, search_seconds: float, at: float, channels: int, offset: int
) -> None:
    pcm = pcm_file(tmp_path, frames, channels=channels, offset=offset)
    # A cut at the very beginning of a piece would never come to an end: at least this much is taken each time.
    max_seconds = max(max_seconds, frames / RATE / 50)
    found = cut(pcm, at, max_seconds=max_seconds, search_seconds=min(search_seconds, max_seconds / 2))
    joined = np.concatenate([piece.audio.samples for piece in found]) if found else np.zeros(0, np.float32)
    assert np.array_equal(joined, pcm.read())
    for piece, following in pairwise(found):
        assert following.offset == pytest.approx(piece.offset + piece.audio.duration)
    assert all(0 < piece.audio.duration <= max_seconds + 1 / RATE for piece in found)


def test_short_audio_is_one_piece_and_none_is_none(tmp_path: Path) -> None:
    (piece,) = cut(pcm_file(tmp_path, 10_000), 0.5, max_seconds=10.0)
    assert (piece.offset, piece.audio.duration) == (0.0, 10.0)
    assert cut(pcm_file(tmp_path, 0), 0.5, max_seconds=10.0) == []


def test_the_cut_is_where_the_silence_is(tmp_path: Path) -> None:
    path = tmp_path / "audio.s16"
    samples = np.full(25 * RATE, 1000, "<i2")
    samples[8_500:8_600] = 0
    samples[17_000:17_200] = 0
    path.write_bytes(samples.tobytes())
    seen: list[float] = []

    def find_silence(audio: Audio) -> float:
        seen.append(audio.duration)
        silent = np.flatnonzero(audio.samples == 0)
        return float(silent.mean()) / audio.sample_rate

    pcm = PcmFile(path, len(samples), RATE)
    found = list(pieces(pcm, sample_rate=RATE, find_silence=find_silence, seconds=10.0, search_seconds=2.0))
    assert seen == [2.0, 2.0]
    assert [piece.offset for piece in found] == pytest.approx([0.0, 8.55, 17.1], abs=0.002)


@pytest.mark.parametrize("at", [-1.0, 5.0, 0.0])
def test_a_silly_cut_is_put_right(tmp_path: Path, at: float) -> None:
    pcm = pcm_file(tmp_path, 25_000)
    found = cut(pcm, at, max_seconds=10.0, search_seconds=2.0)
    assert np.array_equal(np.concatenate([piece.audio.samples for piece in found]), pcm.read())
    assert all(8.0 <= piece.audio.duration <= 10.0 for piece in found[:-1])


def test_resampling_keeps_the_length(tmp_path: Path) -> None:
    rate = 44_100
    pcm = pcm_file(tmp_path, 50 * rate, rate=rate, channels=2)
    found = cut(pcm, 0.3, max_seconds=21.0, search_seconds=5.0, rate=16_000)
    assert len(found) == 3
    assert {piece.audio.sample_rate for piece in found} == {16_000}
    assert sum(len(piece.audio.samples) for piece in found) == pytest.approx(50 * 16_000, abs=len(found))
    for piece, following in pairwise(found):
        assert following.offset - piece.offset == pytest.approx(piece.audio.duration, abs=1e-3)


def test_the_end_of_a_piece_is_found_without_reading_the_rest_of_it(tmp_path: Path) -> None:
    read: list[tuple[int, int]] = []

    class Watched(PcmFile):
        def read(self, start: int = 0, stop: int | None = None) -> Samples:
            read.append((start, stop or self.frames))
            return super().read(start, stop)

    whole = pcm_file(tmp_path, 100_000)
    pcm = Watched(whole.path, whole.frames, whole.sample_rate)
    how: dict[str, Any] = {
        "find_silence": lambda _: 1.5,
        "seconds": 60.0,
        "search_seconds": 15.0,
    }
    assert end_of_piece(pcm, 7_000, sample_rate=RATE, **how) == 53_500
    assert (read[0][0], read[-1][1]) == (52_000, 67_000)
    read.clear()
    assert end_of_piece(pcm, 60_000, sample_rate=RATE, **how) == 100_000
    assert read == []
