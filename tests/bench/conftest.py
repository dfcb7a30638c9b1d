"""What the tests of the benchmarks share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import asr, words
from bench.speech import Clip
from bench.words import WordErrors
from tests.bench.asr_runs import SAID


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count word errors without the environment: words that stand in other places."""

    def count(said: Sequence[str], heard: Sequence[str]) -> WordErrors:
        pairs = [
            zip(one.split(), (*other.split(), *[""] * 99), strict=False) for one, other in zip(said, heard, strict=True)
        ]
        wrong = [one != other for pair in pairs for one, other in pair]
        return WordErrors(sum(wrong), len(wrong))

    monkeypatch.setattr(words, "count", count)


@pytest.fixture
def spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Clip]:
    """Three clips with noise instead of speech, which is what the fake engine hears words in."""
    noise = np.random.default_rng(1)
    found = []
    for number, seconds in enumerate((2.5, 3.0, 3.5)):
        path = tmp_path / f"{number}.flac"
        soundfile.write(path, noise.normal(scale=0.1, size=round(seconds * 16_000)), 16_000)
        found.append(Clip(path, seconds, SAID))
    monkeypatch.setattr(asr, "clips", lambda: found)
    return found
