"""What the command line prints and logs, whatever others put into it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import logs
from voice_stack.cli import both, output


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)


def test_an_event_with_a_traceback_is_one_line(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("INFO")
    try:
        raise ValueError("first\nforged \x1b[2J line")
    except ValueError:
        logging.getLogger("core").exception("it broke\r\nhere")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "\x1b" not in written
    assert "\r" not in written
    assert r"it broke\r\nhere\nTraceback" in written
    assert r"ValueError: first\nforged \x1b[2J line" in written


@pytest.mark.anyio
async def test_lines_of_a_service_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["odd [/x] line :smile:", "ready: http://127.0.0.1:1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"print({chr(10).join(lines)!r})", stdout=asyncio.subprocess.PIPE
    )
    child = both._Child("asr", process, stop_seconds=10)
    assert await child.address == "http://127.0.0.1:1"
    await child.stop()
    assert capsys.readouterr().out.splitlines() == [f"asr  {line}" for line in lines]


def test_a_file_replaces_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old", encoding="utf-8")

    def write(*, fail: bool) -> None:
        with output.replacing(target) as file:
            file.write(b"new")
            if fail:
                raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write(fail=True)
    assert target.read_text(encoding="utf-8") == "old"
    write(fail=False)
    assert target.read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
