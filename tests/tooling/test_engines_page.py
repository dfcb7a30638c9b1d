"""The tables of docs/engines.md say what the engines' classes say."""

from __future__ import annotations

from pathlib import Path

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from tts.engine_factory import TABLE, registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "engines.md"


def tts_table() -> dict[str, dict[str, str]]:
    """The rows of the page's table of TTS engines by name, each a column's title to its cell."""
    section = PAGE.read_text(encoding="utf-8").partition("## TTS\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    titles, _, *engines = rows
    return {row[0].strip("`"): dict(zip(titles, row, strict=True)) for row in engines}


def test_every_tts_engine_has_a_row() -> None:
    assert set(tts_table()) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_speeds_are_those_of_the_engine(name: str) -> None:
    low, high = registry().get(name).speed_range
    assert tts_table()[name]["speed by itself"] == f"{low:g} to {high:g}"
