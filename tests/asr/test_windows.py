"""Windows of a long file: spread over it, never silent, and a majority of them decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asr.transcript import LanguageGuess
from asr.windows import TRIES, WindowOptions, vote, windows
from utils.audio.pcm import PcmFile

RATE = 1000


def pcm_file(folder: Path, *stretches: tuple[float, float], channels: int = 1) -> PcmFile:
    """A file of stretches of (seconds, level); level 0 is silence. A sample's value tells its second."""
    parts = [np.full(round(seconds * RATE), level * 32767) for seconds, level in stretches]
    samples = np.repeat(np.concatenate(parts).astype("<i2"), channels)
    path = folder / "audio.s16"
    path.write_bytes(samples.tobytes())
    return PcmFile(path, len(samples) // channels, RATE, channels)


def levels(pcm: PcmFile, rate: int = RATE, **options: float) -> list[float]:
    """The level in the middle of each window."""
    found = windows(pcm, WindowOptions(**options), sample_rate=rate)  # type: ignore[arg-type]
    return [round(float(window.samples[len(window.samples) // 2]), 2) for window in found]


def test_the_first_three_are_spread_over_the_file(tmp_path: Path) -> None:
    pcm = pcm_file(tmp_path, *((60.0, (index + 1) / 100) for index in range(60)))
    found = levels(pcm)
    assert found[:3] == pytest.approx([0.11, 0.31, 0.51], abs=0.011)
    assert len(found) == len(set(found)) == TRIES
    assert max(found) - min(found) > 0.5


def test_silence_is_passed_over(tmp_path: Path) -> None:
    pcm = pcm_file(tmp_path, (3600, 0), (60, 0.2), (3600, 0), (60, 0.4), (600, 0))
    assert {level for level in levels(pcm, seconds=5) if level} == {0.2, 0.4}
    assert levels(pcm_file(tmp_path, (100, 0))) == []


@pytest.mark.parametrize("channels", [1, 2])
def test_a_short_file_is_one_window_at_the_rate_asked_for(tmp_path: Path, channels: int) -> None:
    pcm = pcm_file(tmp_path, (20, 0.3), channels=channels)
    (window,) = windows(pcm, WindowOptions(), sample_rate=RATE * 2)
    assert (window.sample_rate, window.duration) == (RATE * 2, pytest.approx(20, abs=0.01))


def test_no_window_is_longer_than_wanted_and_none_is_a_scrap(tmp_path: Path) -> None:
    pcm = pcm_file(tmp_path, (121, 0.3))
    durations = [window.duration for window in windows(pcm, WindowOptions(seconds=30), sample_rate=RATE)]
    assert len(durations) == 3
    assert all(40 < duration <= 60 for duration in durations)


def test_nothing_before_the_offset_is_heard(tmp_path: Path) -> None:
    pcm = pcm_file(tmp_path, (300, 0.1), (100, 0.2))
    assert set(levels(pcm, offset=300)) == {0.2}
    assert levels(pcm, offset=400) == []
    assert levels(pcm, offset=1e6) == []


def test_an_empty_file_has_no_windows(tmp_path: Path) -> None:
    path = tmp_path / "audio.s16"
    path.write_bytes(b"\0\0")  # an empty file cannot be mapped; no frame of it is used
    assert list(windows(PcmFile(path, 0, RATE), WindowOptions(), sample_rate=RATE)) == []


def guesses(*given: tuple[str | None, float]) -> Iterator[LanguageGuess]:
    return (LanguageGuess(language, probability) for language, probability in given)


@pytest.mark.parametrize(
    ("given", "language", "probability"),
    [
        ([], None, 0.0),
        ([(None, 0.0), (None, 0.0)], None, 0.0),
        ([("en", 0.9)], "en", 0.9),
        ([(None, 0.0), ("de", 0.5)], "de", 0.5),
        ([("en", 0.4), ("de", 0.9), ("en", 0.4)], "de", 0.3),
        ([("en", 0.7), ("de", 0.9), ("en", 0.8)], "en", 0.5),
        ([("en", 0.8), ("de", 0.9), (None, 0.0), ("de", 0.7), ("fr", 1.0)], "de", 1.6 / 3),
    ],
)
def test_the_weightiest_language_wins(
    given: list[tuple[str | None, float]], language: str | None, probability: float
) -> None:
    found = vote(guesses(*given), 3)
    assert found.language == language
    assert found.probability == pytest.approx(probability)


def test_no_more_is_heard_than_matters() -> None:
    rest = guesses(("en", 0.9), ("en", 0.8), ("de", 1.0))
    assert vote(rest, 3).language == "en"
    assert [guess.language for guess in rest] == ["de"]
