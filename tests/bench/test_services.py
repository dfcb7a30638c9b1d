"""A service that is measured knows nothing of the user's own settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import services


@pytest.mark.e2e
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system has no /proc")
def test_settings_and_state_of_the_user_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_STACK_STATE", str(tmp_path))
    monkeypatch.setenv("ASR_WORKERS", "7")
    with services.running("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake"}) as service:
        told = Path(f"/proc/{service.pid}/environ").read_bytes().split(b"\0")
        environment = dict(os.fsdecode(one).split("=", 1) for one in told if one)
    assert environment["ASR_MODEL"] == "fake"
    assert "ASR_WORKERS" not in environment
    assert environment["VOICE_STACK_STATE"].startswith(environment["VOICE_STACK_TMP"])
    assert not list(tmp_path.iterdir())
