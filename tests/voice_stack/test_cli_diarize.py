"""`voice-stack diarize`, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.e2e
FAKE = {
    "ASR_MODEL": "fake",
    "ASR_ENGINE": "fake",
    "DIARIZATION_MODEL": "fake-diarizer",
    "DIARIZATION_ENGINE": "fake-diarizer",
}


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "voice_stack", "diarize", *arguments],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **FAKE, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Seven seconds of noise, in which the fake engine hears two speakers who change every two seconds."""
    noise = np.random.default_rng(1).integers(-9000, 9000, 7 * 16_000, dtype=np.int16)
    with wave.open(str(tmp_path / "my talk.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(noise.tobytes())
    return tmp_path


def test_rttm_has_a_line_for_every_turn(talk: Path) -> None:
    done = run("my talk.wav", "--local", "--format", "rttm", cwd=talk)
    assert done.returncode == 0, done.stderr
    turns = [("0.000", "2.000", "SPEAKER_00"), ("2.000", "2.000", "SPEAKER_01"), ("4.000", "2.000", "SPEAKER_00")]
    turns.append(("6.000", "1.000", "SPEAKER_01"))
    assert done.stdout.splitlines() == [
        f"SPEAKER my_talk 1 {start} {length} <NA> <NA> {name} <NA> <NA>" for start, length, name in turns
    ]


def test_the_table_ends_with_how_much_each_one_says(talk: Path) -> None:
    done = run("my talk.wav", "--local", cwd=talk)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["start", "end", "speaker"]
    assert lines[1].split() == ["0.00", "2.00", "SPEAKER_00"]
    assert lines[-2:] == ["SPEAKER_00: 4.0 s in 2 turns", "SPEAKER_01: 3.0 s in 2 turns"]


def test_options_and_the_suffix_of_the_output_are_heeded(talk: Path) -> None:
    done = run("my talk.wav", "--local", "-o", "out.json", "--num-speakers", "3", "--min-on", "1.5", cwd=talk)
    assert done.returncode == 0, done.stderr
    answer = json.loads((talk / "out.json").read_text(encoding="utf-8"))
    assert (answer["task"], answer["duration"], answer["num_speakers"]) == ("diarize", 7.0, 3)
    assert [each["end"] for each in answer["segments"]] == [2.0, 4.0, 6.0]


def test_a_service_answers_the_same(talk: Path, start_service: Any) -> None:
    service = start_service("asr", FAKE)
    for name in ("json", "rttm", "table"):
        command = ("my talk.wav", "--format", name, "--max-speakers", "3")
        local, remote = run(*command, "--local", cwd=talk), run(*command, "--url", service.url, cwd=talk)
        assert local.returncode == remote.returncode == 0, local.stderr + remote.stderr
        assert local.stdout == remote.stdout
        assert local.stdout


def test_what_is_wrong_is_one_clear_line(talk: Path) -> None:
    (talk / "x.wav").write_bytes(b"no audio")
    for arguments, reason in (
        (("my talk.wav", "--num-speakers", "0", "--local"), "num_speakers must be from 1"),
        (("my talk.wav", "--min-speakers", "3", "--max-speakers", "2", "--local"), "min_speakers is greater"),
        (("my talk.wav", "--format", "srt", "--local"), "unknown format 'srt'"),
        (("my talk.wav", "-o", "out.srt", "--local"), "unknown format 'srt'"),
        (("my talk.wav", "--model", "nonsense", "--local"), "'nonsense' does not exist"),
        (("my talk.wav", "-o", "none/x.rttm", "--local"), "does not exist"),
        (("x.wav", "--local"), ""),
        (("my talk.wav", "--url", "http://127.0.0.1:9"), "the service at http://127.0.0.1:9 broke off"),
    ):
        done = run(*arguments, cwd=talk)
        assert done.returncode == 1, arguments
        assert "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("voice-stack: ")
        assert reason in last
        assert not done.stdout


def test_without_a_model_it_says_how_to_get_one(talk: Path) -> None:
    names = {"DIARIZATION_MODEL": "diarization-community1", "DIARIZATION_ENGINE": "community1"}
    done = run("my talk.wav", "--local", cwd=talk, VOICE_STACK_CACHE=str(talk / "cache"), **names)
    assert done.returncode == 1
    assert "voice-stack models pull diarization-community1" in done.stderr
