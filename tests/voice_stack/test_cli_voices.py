"""`voice-stack voices` with the voices folder of this machine and with a running service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from core.errors import VoiceStackError
from voice_stack.cli.voices import app

pytestmark = pytest.mark.e2e
FAKE = {"TTS_MODEL": "fake", "TTS_ENGINE": "fake"}
NO_CLONING = ("TTS_MODEL", "kokoro")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    return {
        **FAKE,
        "TTS_VOICE_DIR": str(tmp_path / "voices"),
        "VOICE_STACK_STATE": str(tmp_path / "state"),
        "TTS_URL": "http://127.0.0.1:9",
    }


def voices(*arguments: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "voice_stack", "voices", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_voices_of_this_machine(places: dict[str, str], tmp_path: Path, speech_data: Path) -> None:
    recording = speech_data / "en" / "jfk.mp3"
    made = voices("add", recording, "--name", "kennedy", "--language", "english", "--text", "And so", env=places)
    assert made.returncode == 0, made.stderr
    assert re.search(r"kennedy \(voice_[0-9a-f]{24}\)", made.stdout)
    assert re.search(r"^ kennedy +en +cloned", voices("list", env=places).stdout, re.MULTILINE)
    again = voices("add", recording, "--name", "kennedy", env=places)
    assert (again.returncode, "already" in again.stderr) == (1, True)
    assert voices("rm", "kennedy", env=places).returncode == 0
    assert "kennedy" not in voices("list", env=places).stdout
    gone = voices("rm", "kennedy", env=places)
    assert (gone.returncode, "no such voice" in gone.stderr) == (1, True)
    assert [path.name for path in (tmp_path / "voices").iterdir()] == [".lock"]


def test_recordings_that_make_no_voice(
    places: dict[str, str], tmp_path: Path, speech_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"no recording")
    speech = str(speech_data / "en" / "jfk.mp3")
    for arguments, told in (
        ([str(noise)], "format"),
        ([str(tmp_path / "nowhere.wav")], "cannot read"),
        ([speech, "--name", "J F K"], "a-z"),
        ([speech, "--language", "klingon"], "klingon"),
        ([speech, "--consent", "cons_1"], "consent"),
        ([speech, "--url", "http://127.0.0.1:9"], "broke off"),
    ):
        failed = CliRunner().invoke(app, ["add", *arguments])
        assert isinstance(failed.exception, VoiceStackError), failed.output
        assert told in failed.exception.message
    assert [path for path in tmp_path.rglob("*.wav") if path != noise] == []


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("VOICE_CONSENT", "required", "consent"),
        ("VOICE_CLONING", "false", "VOICE_CLONING"),
        (*NO_CLONING, "docs/voices.md"),
    ],
)
def test_the_folder_of_this_machine_has_the_rules_of_the_service(
    setting: str,
    value: str,
    told: str,
    places: dict[str, str],
    tmp_path: Path,
    speech_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, each in {**places, "VOICE_STACK_CACHE": str(tmp_path / "cache"), setting: value}.items():
        monkeypatch.setenv(name, each)
    failed = CliRunner().invoke(app, ["add", "--local", str(speech_data / "en" / "jfk.mp3")])
    assert isinstance(failed.exception, VoiceStackError), failed.output
    assert told in failed.exception.message
    assert list(tmp_path.rglob("*.wav")) == []


def test_voices_of_a_running_service(
    start_service: Callable[..., Any], places: dict[str, str], tmp_path: Path, speech_data: Path
) -> None:
    service = start_service("tts", {**places, "API_KEYS": "secret"})
    env = {**FAKE, "TTS_URL": service.url, "API_KEYS": "secret", "TTS_VOICE_DIR": str(tmp_path / "elsewhere")}
    made = voices("add", speech_data / "en" / "jfk.mp3", env=env)
    assert made.returncode == 0, made.stderr
    assert re.search(r"^ jfk +any +cloned", voices("list", env=env).stdout, re.MULTILINE)
    shown = httpx.get(f"{service.url}/v1/audio/voices/jfk", headers={"x-api-key": "secret"})
    assert shown.json()["name"] == "jfk"
    assert "jfk" not in voices("list", "--local", env=env).stdout
    assert voices("rm", "jfk", "--url", service.url, env=env).returncode == 0
    refused = voices("rm", "jfk", env={**env, "API_KEYS": "wrong"})
    assert (refused.returncode, "API key" in refused.stderr) == (1, True)
    assert not (tmp_path / "elsewhere").exists()
