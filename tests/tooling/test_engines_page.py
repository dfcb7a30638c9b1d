"""The tables of docs/engines.md say what the engines' classes say."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr import engine_factory as asr_engines
from asr.diarization import engine_factory as diarizers
from asr.diarization.engine import SpeakerEncoder
from tts.engine_factory import TABLE, registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "engines.md"
RESULT = {
    "measured_at": "2026-11-22T10:00:00+00:00",
    "machine": {"cpu": "AMD EPYC", "cores": 2, "python": "3.11.7"},
    "settings": {"threads": 2},
}
ROW = {
    "kind": "tts",
    "engine": "piper",
    "tested with": "real weights",
    "note": "",
    "model": "piper-en_US-joe-medium",
    "tests": "21 passed",
    "WER %": 3.1,
    "RTF": 0.08,
    "RSS MB": 180,
    "library": "piper-tts 1.4.2",
}


def table(title: str) -> dict[str, dict[str, str]]:
    """The rows of the page's table of engines by name, each a column's title to its cell."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    titles, _, *engines = rows
    return {row[0].strip("`"): dict(zip(titles, row, strict=True)) for row in engines}


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/engines_page.py."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("engines_page")


def test_every_asr_engine_but_that_of_tests_has_a_row() -> None:
    assert set(table("ASR")) == set(asr_engines.TABLE) - {"fake-windows"}


def test_what_was_measured_is_told_with_the_words_for_what_it_was(generator: Any, tmp_path: Path) -> None:
    tiny = ROW | {"engine": "coqui", "tested with": "tiny checkpoint", "model": "", "note": "noise, not speech"}
    tiny |= {"WER %": None, "RTF": None, "RSS MB": None}
    path = tmp_path / "engines.json"
    path.write_text(json.dumps(RESULT | {"tables": {"engines": [ROW, tiny]}}))
    _, _, real, made_up, *_ = generator._measured(path).splitlines()
    assert "| real weights: `piper-en_US-joe-medium` | 21 passed | 3.1 % | 0.08 | 180 MB | piper-tts 1.4.2 |" in real
    assert "| tiny checkpoint: noise, not speech | 21 passed |  |  |  |" in made_up
    assert generator._measured(tmp_path / "none.json") == "No results have been published yet."


def test_a_page_that_lost_a_table_is_refused(generator: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="measured"):
        generator.pages(page.replace("<!-- table measured", "<!--"))


def test_every_tts_engine_has_a_row() -> None:
    assert set(table("TTS")) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_speeds_are_those_of_the_engine(name: str) -> None:
    low, high = registry().get(name).speed_range
    assert table("TTS")[name]["speed by itself"] == f"{low:g} to {high:g}"


def test_every_diarization_engine_has_a_row() -> None:
    assert set(table("Diarization")) == set(diarizers.TABLE)


@pytest.mark.parametrize("name", diarizers.TABLE)
def test_a_diarization_engine_can_do_what_its_row_says(name: str) -> None:
    row, engine = table("Diarization")[name], diarizers.registry().get(name)
    can = engine.capabilities
    assert row["overlapping speech"] == ("yes" if can.overlap else "no")
    assert row["vectors of voices"] == ("yes" if issubclass(engine, SpeakerEncoder) else "no")
    assert row["streaming"] == ("yes" if can.streaming else "no")
    assert ("can be told" in row["how many speakers"]) == can.hints
    assert row["install"] == (f"extra `{engine.extra}`" if engine.extra else "base install")
    assert row["licence"].removesuffix(" (weights)") == engine.licence
