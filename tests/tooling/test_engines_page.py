"""The tables of docs/engines.md say what the engines' classes say."""

from __future__ import annotations

from pathlib import Path

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization import engine_factory as diarizers
from asr.diarization.engine import SpeakerEncoder
from tts.engine_factory import TABLE, registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "engines.md"


def table(title: str) -> dict[str, dict[str, str]]:
    """The rows of the page's table of engines by name, each a column's title to its cell."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    titles, _, *engines = rows
    return {row[0].strip("`"): dict(zip(titles, row, strict=True)) for row in engines}


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
