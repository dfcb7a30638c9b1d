"""The folder for uploads: private, removed with the request, swept at start."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.spool import Spool


async def test_a_requests_folder_goes_with_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "asr")
    async with spool.folder() as folder:
        (folder / "upload").write_bytes(b"x")
        assert folder.stat().st_mode & 0o077 == 0
    for _ in range(500):
        if not folder.exists():
            break
        await asyncio.sleep(0.01)
    assert not folder.exists()
    spool.close()
    assert [path.name for path in tmp_path.iterdir()] == [".gate"]


def test_what_a_dead_service_left_is_swept_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    code = "import sys, os, voice_stack; from core.spool import Spool; from pathlib import Path\n"
    code += "spool = Spool(Path(sys.argv[1]), 'asr'); (spool.path / 'r-1').mkdir(); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob("asr-*"))) == 1
    first = Spool(tmp_path, "asr")
    second = Spool(tmp_path, "tts")
    assert {path.name for path in tmp_path.iterdir()} == {".gate", first.path.name, second.path.name}
    first.close()
    second.close()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="VOICE_STACK_TMP"):
        Spool(tmp_path / "no", "asr")


def test_a_file_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="VOICE_STACK_TMP"):
        Spool(tmp_path / "no", "asr")


def test_what_is_not_ours_is_never_swept(tmp_path: Path) -> None:
    for name in ("project", "asr-notes", "asr-abcdefgh.bak"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text("mine", encoding="utf-8")
    (tmp_path / "tts-zzzzzzzz").write_text("a file", encoding="utf-8")
    Spool(tmp_path, "asr").close()
    assert (tmp_path / "project" / "lock").is_file()
    assert (tmp_path / "asr-notes" / "lock").is_file()
    assert (tmp_path / "asr-abcdefgh.bak" / "lock").is_file()
    assert (tmp_path / "tts-zzzzzzzz").is_file()
