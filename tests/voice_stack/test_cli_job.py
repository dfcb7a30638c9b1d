"""`voice-stack transcribe --job`, run as a user runs it, against a service that may come and go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.full_service import stopped, worker

pytestmark = pytest.mark.e2e
FAKE = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake"}
JOB = re.compile(r"job_[0-9a-f]+")


def start(*arguments: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "voice_stack", *arguments],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **FAKE, **env},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Run to the end; return the exit status, what was written and the lines for people."""
    process = start("transcribe", *arguments, cwd=cwd)
    out, told = process.communicate(timeout=120)
    assert "Traceback" not in told
    return process.returncode, out, told


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """Half a minute of noise, which the fake engine takes for speech."""
    noise = np.random.default_rng(7).integers(-9000, 9000, 30 * 16_000, dtype=np.int16)
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(noise.tobytes())
    return "long.wav"


@pytest.fixture(scope="module")
def service(start_service: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service whose jobs take their time: a tenth of the recording's."""
    state = str(tmp_path_factory.mktemp("state"))
    return start_service("asr", {**FAKE, "VOICE_STACK_STATE": state, "ASR_ENGINE_OPTIONS__DELAY": "0.1"})


def test_a_job_ends_in_the_same_text(service: Any, recording: str, tmp_path: Path) -> None:
    common = (recording, "--url", service.url, "--format", "srt", "--words")
    status, plain, _ = run(*common, cwd=tmp_path)
    assert status == 0
    status, out, told = run(*common, "--job", "-o", "job.srt", cwd=tmp_path)
    assert (status, out) == (0, ""), told
    assert JOB.search(told)
    assert (tmp_path / "job.srt").read_text(encoding="utf-8") == plain
    assert {path.name for path in tmp_path.iterdir()} == {recording, "job.srt"}


def test_an_interrupted_job_goes_on_and_can_be_fetched(service: Any, recording: str, tmp_path: Path) -> None:
    with stopped(worker(service.url)):  # the job cannot be done before we interrupt it
        process = start("transcribe", recording, "--job", "--url", service.url, cwd=tmp_path)
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    job = JOB.findall(line)[0]
    assert f"voice-stack transcribe --job-id {job} --format text --url {service.url}" in told
    assert "Traceback" not in told
    status, out, _ = run("--job-id", job, "--url", service.url, "--format", "vtt", cwd=tmp_path)
    assert status == 0
    assert out.startswith("WEBVTT")
    assert out.count(" --> ") == 6


def test_what_is_no_recording_fails_in_one_line(service: Any, tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_bytes(b"no audio")
    status, out, told = run("x.mp3", "--job", "--url", service.url, cwd=tmp_path)
    assert (status, out) == (1, "")
    assert told.splitlines()[-1].startswith("voice-stack: ")
    assert "come back" not in told


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--job-id", "job_00000000000000000000000000000000"], "no such job"),
        (["long.wav", "--job", "--local"], "exclude each other"),
        (["long.wav", "--job-id", "job_1"], "either a recording or"),
        ([], "either a recording or"),
        (["--job"], "either a recording or"),
        (["--job-id", "../models"], "'../models' is not the id of a job"),
        (["--job-id", "."], "'.' is not the id"),
        (["--job-id", ""], "'' is not the id"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], reason: str, service: Any, recording: str, tmp_path: Path
) -> None:
    assert recording == "long.wav"
    status, out, told = run(*arguments, "--url", service.url, cwd=tmp_path)
    assert (status, out) == (1, "")
    assert re.search(reason, told, re.IGNORECASE), told
    assert told.startswith("voice-stack: ")
    assert told.count("\n") == 1


def test_a_service_that_is_not_there_is_told(recording: str, tmp_path: Path) -> None:
    status, out, told = run(recording, "--job", "--url", "http://127.0.0.1:9", cwd=tmp_path)
    assert (status, out) == (1, "")
    assert "there is no job" in told
    assert told.splitlines()[-1].startswith("voice-stack: the service at http://127.0.0.1:9 broke off")


def test_a_service_that_is_killed_and_started_again_is_waited_for(
    restarting: Any, recording: str, tmp_path: Path
) -> None:
    process = start("transcribe", recording, "--job", "--url", restarting.url, "--format", "json", cwd=tmp_path)
    assert process.stderr is not None
    assert JOB.search(process.stderr.readline())
    restarting.kill()
    restarting.start()
    out, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert out.startswith('{"text":"')
