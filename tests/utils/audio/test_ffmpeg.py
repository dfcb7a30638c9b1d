from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from utils.audio import ffmpeg


def test_executable_runs_and_says_its_version() -> None:
    assert Path(ffmpeg.executable()).is_file()
    assert ffmpeg.version() not in {"", "unknown"}


def test_the_one_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "ffmpeg"
    shutil.copy("/bin/sh", own)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg.executable.__wrapped__() == str(own)


def test_without_one_on_path_the_packaged_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setenv("PATH", "")
    assert "imageio_ffmpeg" in ffmpeg.executable.__wrapped__()


def test_none_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ffmpeg.FfmpegMissing, match="imageio-ffmpeg"):
        ffmpeg.executable.__wrapped__()
