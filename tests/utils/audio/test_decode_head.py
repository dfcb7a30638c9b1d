"""Decoding no more than is needed, and bytes that are told from bare samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from utils.audio.decode import Limits, decode, to_pcm
from utils.audio.sniff import is_container

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_child_left")]
LIMITS = Limits(timeout=60)


async def test_decoding_stops_at_the_head(make_tone: Callable[..., Path], tmp_path: Path) -> None:
    source = make_tone("tone.mp3", 30)
    pcm = await decode(source, tmp_path / "pcm", limits=LIMITS, head_seconds=5)
    assert pcm.duration == pytest.approx(5, abs=0.2)
    assert np.abs(pcm.read()).max() > 0.05
    short = make_tone("short.mp3", 2)
    assert (await decode(short, tmp_path / "pcm", limits=LIMITS, head_seconds=5)).duration == pytest.approx(2, abs=0.2)


async def test_the_length_of_the_rest_does_not_matter(make_tone: Callable[..., Path], tmp_path: Path) -> None:
    source = make_tone("tone.flac", 30)
    limits = Limits(timeout=60, max_seconds=10)
    pcm = await to_pcm(source, tmp_path / "pcm", limits=limits, head_seconds=5)
    assert pcm.duration == pytest.approx(5, abs=0.2)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.m4a", "a.mkv"])
async def test_containers_are_no_samples(make_tone: Callable[..., Path], name: str) -> None:
    assert is_container(make_tone(name, 0.5).read_bytes())


def test_samples_are_no_container() -> None:
    noise = np.random.default_rng(0).integers(-32768, 32767, 8000, dtype="<i2")
    for samples in (noise, np.zeros(100, "<i2"), np.full(100, 0x4747, "<i2")):
        assert not is_container(samples.tobytes())
    assert not is_container(b"")
