"""`voice-stack tune`, with the fake engine in real worker processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr import tuning
from asr.service import AsrService
from asr.settings import AsrSettings
from core import devices
from voice_stack.cli import app


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder, the fake engine on two cores, and a working folder without .env."""
    for name in list(os.environ):
        if name.startswith(("ASR_", "VOICE_STACK_")):
            monkeypatch.delenv(name)
    given = {
        "VOICE_STACK_STATE": str(tmp_path / "state"),
        "VOICE_STACK_CACHE": str(tmp_path / "cache"),
        "VOICE_STACK_TMP": str(tmp_path / "tmp"),
        "ASR_MODEL": "fake",
        "ASR_ENGINE": "fake",
        "ASR_ENGINE_OPTIONS__DELAY": "0.01",
        "COLUMNS": "120",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(devices, "usable_cores", lambda: 2)
    monkeypatch.setattr(tuning, "TRIAL_SECONDS", 0.1)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tune", *arguments])


def test_two_decoders_are_found_to_be_faster_and_the_next_service_has_them(state: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[1:2] in (["1"], ["2"])]
    assert [row[:2] for row in rows] == [["1", "1"], ["2", "1"], ["1", "2"]]
    assert [row[-1] for row in rows].count("best") == 1
    assert rows[1][-1] == "best"  # the fake engine waits, and two can wait at once
    assert str(state / "tuning.json") in result.stdout.replace("\n", "")
    (kept,) = json.loads((state / "tuning.json").read_text(encoding="utf-8"))
    assert kept["setup"] == {"device": "cpu", "workers": 2, "threads": 1, "batch_size": 0}
    service = AsrService(AsrSettings())
    assert service.spec(service.host.default()).config["tuned"] == kept["setup"]


def test_a_dry_run_keeps_nothing(state: Path) -> None:
    result = run("--dry-run")
    assert result.exit_code == 0
    assert "best" in result.stdout
    assert not (state / "tuning.json").exists()


def test_a_setting_that_goes_first_is_told_of(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_WORKERS", "3")
    result = run()
    assert "not while ASR_WORKERS" in result.stdout
    assert (state / "tuning.json").exists()
