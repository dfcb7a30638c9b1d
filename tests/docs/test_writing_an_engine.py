"""docs/writing-an-engine.md, done as it says: files written and commands run, in order, in a fresh folder."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "writing-an-engine.md"
BLOCK = re.compile(
    r"(?:^\*\*`(?P<file>[^`]+)`\*\*\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    file: str | None
    language: str
    text: str


BLOCKS = [Block(**found.groupdict()) for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]


def steps(folder: Path, environ: dict[str, str]) -> Iterator[tuple[Block, str]]:
    """Write the files and run the commands; yield each command with what it printed."""
    for block in BLOCKS[1:]:
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            command = ["bash", "-ec", block.text]
            done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
            yield block, done.stdout


def test_the_page_works_as_it_is_written(tmp_path: Path, environ: dict[str, str]) -> None:
    folder = tmp_path / "my-engine"
    folder.mkdir()
    printed = {block.text: output for block, output in steps(folder, environ)}
    compared = 0
    for shown, expected in pairwise(BLOCKS):
        if expected.language == "text":
            assert printed[shown.text].split()[-len(expected.text.split()) :] == expected.text.split()
            compared += 1
    assert compared == 4
    assert "3 passed" in printed["python -m pytest -q tests\n"]


def test_its_first_step_is_the_one_that_this_test_replaces() -> None:
    assert BLOCKS[0].language == "sh"
    assert "python3 -m venv" in BLOCKS[0].text
    assert "pip install ../voice-stack pytest" in BLOCKS[0].text


def test_no_block_is_overlooked() -> None:
    assert PAGE.read_text(encoding="utf-8").count("\n```\n") == len(BLOCKS)
    assert {block.language for block in BLOCKS if not block.file} == {"sh", "text"}
