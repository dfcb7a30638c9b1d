"""What the command line prints and logs, whatever others put into it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from core import logs
from voice_stack.cli import both, doctor, output, transcribe


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


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("import os; os.kill(os.getpid(), 9)", "voice-stack: asr ended with signal 9; stopping tts"),
        ("raise SystemExit(3)", "voice-stack: asr ended with status 3; stopping tts"),
    ],
)
async def test_it_is_told_which_service_ended_and_how(capsys: pytest.CaptureFixture[str], end: str, told: str) -> None:
    async def child(name: str, code: str) -> both._Child:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        return both._Child(name, process, stop_seconds=10)

    children = [await child("asr", end), await child("tts", "import time; time.sleep(60)")]
    try:
        assert await both._supervise(children, asyncio.Event(), check=False, exit_after=False) == 1
    finally:
        await asyncio.gather(*(each.stop() for each in children))
    assert capsys.readouterr().err.splitlines() == [told]


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("x.srt", "srt"),
        ("a.b/x.VTT", "vtt"),
        ("x.json", "json"),
        ("x.txt", "txt"),
        ("x.lrc", "lrc"),
        ("x.docx", "text"),
        ("x", "text"),
        (None, "text"),
    ],
)
def test_the_suffix_of_a_file_is_its_format(name: str | None, chosen: str) -> None:
    assert transcribe.format_of(Path(name) if name else None) == chosen


def test_the_doctor_does_not_cut_paths(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/a" * 100 + "/[model] :smile:"
    monkeypatch.setattr(doctor, "_findings", lambda: iter([doctor.Finding("asr model", "problem", path)]))
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(typer.Exit) as ended:
        doctor.doctor()
    assert ended.value.exit_code == 1
    assert capsys.readouterr().out == f"asr model  problem  {path}\n"


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
