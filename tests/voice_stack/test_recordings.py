"""Which recordings a batch finds, and where their texts go."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from core.errors import InvalidRequest
from voice_stack.cli import recordings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with recordings at two depths, and with what is none."""
    place = tmp_path / "in"
    for name in ("b.MP3", "a.wav", "deep/er/c.part1.mkv", "a.srt", "notes.txt", ".hidden.wav", ".cache/d.wav"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"")
    return place


def targets(sources: list[str], out: Path | None = None) -> list[str]:
    return [str(each.target) for each in recordings.find(sources, out, "srt")]


def test_a_folder_is_searched_with_all_below_and_mirrored(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert targets([str(folder)], out) == [f"{out}/a.srt", f"{out}/b.srt", f"{out}/deep/er/c.part1.srt"]


def test_without_a_folder_to_write_to_texts_go_beside_their_recordings(folder: Path) -> None:
    assert targets([str(folder)]) == [f"{folder}/a.srt", f"{folder}/b.srt", f"{folder}/deep/er/c.part1.srt"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("*", ["a", "b", "deep/er/c.part1"]), ("*.wav", ["a"]), ("**/*.mkv", ["deep/er/c.part1"]), ("[b]*", ["b"])],
)
def test_patterns_are_ours_to_expand(folder: Path, tmp_path: Path, pattern: str, found: list[str]) -> None:
    out = tmp_path / "out"
    assert targets([str(folder / pattern)], out) == [f"{out}/{name}.srt" for name in found]


def test_what_is_named_twice_is_done_once(folder: Path) -> None:
    assert targets([str(folder / "a.wav"), str(folder), str(folder / "*.wav")]) == targets([str(folder)])


def test_a_name_that_looks_like_a_pattern_is_a_name_where_it_exists(tmp_path: Path) -> None:
    (tmp_path / "talk [1].wav").write_bytes(b"")
    assert targets([str(tmp_path / "talk [1].wav")]) == [str(tmp_path / "talk [1].srt")]


def test_recordings_of_one_name_keep_their_suffixes(tmp_path: Path) -> None:
    for name in ("talk.mp3", "talk.wav", "other.wav"):
        (tmp_path / name).write_bytes(b"")
    found = targets([str(tmp_path)])
    assert found == [str(tmp_path / name) for name in ("other.srt", "talk.mp3.srt", "talk.wav.srt")]


def test_two_recordings_for_one_file_are_refused(tmp_path: Path) -> None:
    for name in ("one/talk.wav", "two/talk.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InvalidRequest, match="would both be written to"):
        targets([str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "out")


def test_a_source_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no file or folder"):
        targets([str(tmp_path / "missing")])
    assert targets([str(tmp_path / "*.mp3")]) == []


@pytest.mark.parametrize("source", ["x/**.wav", "~nobody-has-this-name/x", "x" * 300])
def test_what_pathlib_cannot_use_is_told(source: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(source)):
        targets([source])


def test_a_text_is_done_until_its_recording_is_newer(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    source.write_bytes(b"")
    (found,) = recordings.find([str(source)], None, "srt")
    assert not found.is_done
    found.target.write_bytes(b"")
    assert found.is_done
    later = found.target.stat().st_mtime + 10
    os.utime(source, (later, later))
    assert not found.is_done
