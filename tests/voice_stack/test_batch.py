"""`voice-stack batch`, run as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pysrt
import pytest

from asr.service import SHORT_CALLS

pytestmark = pytest.mark.e2e
FAKE = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake"}


def start(*arguments: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "voice_stack", "batch", *arguments],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **FAKE, **env},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str, cwd: Path, **env: str) -> tuple[int, str]:
    """Run to the end; return the exit status and the lines for people."""
    process = start(*arguments, cwd=cwd, **env)
    out, told = process.communicate(timeout=120)
    assert out == ""
    assert "Traceback" not in told
    return process.returncode, told


def record(path: Path, seconds: float = 2.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(-9000, 9000, round(16_000 * seconds), dtype=np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(noise.tobytes())


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["service", "local"])
def test_a_folder_becomes_subtitles_and_what_fails_is_told(place: str, fake_asr: Any, tmp_path: Path) -> None:
    for name in ("one.wav", "deep/two.wav"):
        record(tmp_path / "in" / name)
    (tmp_path / "in" / "broken.mp3").write_bytes(b"no audio")
    where = ["--url", fake_asr.url] if place == "service" else ["--local"]
    command = ["in", "--format", "srt", "--out", "out", *where]
    status, told = run(*command, cwd=tmp_path)
    assert status == 1
    assert "broken.mp3: " in told
    assert "2 written, 0 done before, 1 failed" in told
    assert files(tmp_path / "out") == {"one.srt", "deep/two.srt"}
    for name in files(tmp_path / "out"):
        assert pysrt.open(str(tmp_path / "out" / name), error_handling=pysrt.ERROR_RAISE)
    (tmp_path / "in" / "broken.mp3").unlink()
    assert run(*command, cwd=tmp_path) == (0, "0 written, 2 done before, 0 failed\n")
    assert run(*command, "--again", cwd=tmp_path)[1].endswith("2 written, 0 done before, 0 failed\n")


def test_a_stopped_batch_goes_on_where_it_was(tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(6)]
    for name in names:
        record(tmp_path / name)
    process = start(".", "--local", cwd=tmp_path, ASR_ENGINE_OPTIONS__DELAY="0.2")
    assert process.stderr is not None
    assert process.stderr.readline() == "0.wav: 0.srt\n"
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the same command goes on from here" in told
    assert "Traceback" not in told
    done = files(tmp_path) - set(names)
    assert "0.srt" in done
    assert len(done) < len(names)
    assert all(name.endswith(".srt") for name in done)
    status, told = run(".", "--local", cwd=tmp_path)
    assert (status, told.splitlines()[-1]) == (0, f"{6 - len(done)} written, {len(done)} done before, 0 failed")
    assert files(tmp_path) == {*names, *(f"{number}.srt" for number in range(6))}


def test_a_service_whose_queue_is_full_is_waited_for(start_service: Any, tmp_path: Path) -> None:
    service = start_service("asr", {**FAKE, "ASR_MAX_WAITING": "1", "ASR_ENGINE_OPTIONS__DELAY": "0.2"})
    count = SHORT_CALLS + 8
    for number in range(count):
        # Equal recordings would share one run.
        record(tmp_path / f"{number}.wav", seconds=0.5 + number / 100)
    status, told = run(".", "--url", service.url, "--at-once", str(count), cwd=tmp_path)
    assert (status, told.splitlines()[-1]) == (0, f"{count} written, 0 done before, 0 failed")
    assert 'voice_stack_errors_total{code="queue_full"}' in httpx.get(f"{service.url}/metrics").text


def test_a_service_that_is_killed_and_started_again_is_waited_for(restarting: Any, tmp_path: Path) -> None:
    for number in range(4):
        record(tmp_path / f"{number}.wav", seconds=10)
    process = start(".", "--url", restarting.url, cwd=tmp_path)
    assert process.stderr is not None
    assert process.stderr.readline() == "0.wav: 0.srt\n"
    restarting.kill()
    restarting.start()
    told = process.communicate(timeout=120)[1]
    assert (process.returncode, told.splitlines()[-1]) == (0, "4 written, 0 done before, 0 failed")
    assert {f"{number}.srt" for number in range(4)} < files(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--local", "--model", "no-such-model"], "no-such-model"),
        (["--url", "http://127.0.0.1:9"], "broke off"),
        (["--local", "--format", "doc"], "unknown format"),
        (["--local", "--language", "xx-klingon"], "xx-klingon"),
    ],
)
def test_what_is_wrong_with_every_recording_is_told_once(arguments: list[str], reason: str, tmp_path: Path) -> None:
    for number in range(3):
        record(tmp_path / f"{number}.wav")
    status, told = run(".", *arguments, cwd=tmp_path)
    assert status == 1
    assert told.splitlines()[-1].startswith("voice-stack: ")
    assert told.count(reason) == 1
    assert files(tmp_path) == {"0.wav", "1.wav", "2.wav"}


def test_a_folder_without_recordings_is_told(tmp_path: Path) -> None:
    status, told = run(".", cwd=tmp_path)
    assert (status, told) == (1, "voice-stack: no recording in .\n")
