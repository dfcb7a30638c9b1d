"""`voice-stack models ps`, against services with the fake engines and against none."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

import voice_stack  # noqa: F401 - puts our packages on the import path
from voice_stack.cli import models

CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> pytest.MonkeyPatch:
    """No service at either address, and no .env."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASR_URL", CLOSED)
    monkeypatch.setenv("TTS_URL", CLOSED)
    monkeypatch.delenv("API_KEYS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return monkeypatch


def ps(*arguments: str) -> Result:
    return CliRunner().invoke(models.app, ["ps", *arguments])


def test_without_a_service(alone: pytest.MonkeyPatch) -> None:
    done = ps()
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"voice-stack: no asr service answers at {CLOSED}",
        f"voice-stack: no tts service answers at {CLOSED}",
    ]


def test_an_address_that_is_none(alone: pytest.MonkeyPatch) -> None:
    alone.setenv("ASR_URL", "http://a:b:c")
    done = ps()
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0] == "voice-stack: no asr service answers at http://a:b:c"
    assert CliRunner().invoke(models.app, ["list"]).exit_code == 0


@pytest.mark.e2e
@pytest.mark.parametrize("end", ["", "/v1"])
def test_what_one_service_has_loaded(alone: pytest.MonkeyPatch, fake_tts: Any, end: str) -> None:
    alone.setenv("TTS_URL", fake_tts.url + end)
    with httpx.Client(base_url=fake_tts.url, timeout=60) as client:
        if not client.get("/api/ps").json()["models"]:
            assert client.post("/api/ps/fake").status_code == 201
    done = ps()
    assert done.exit_code == 0
    assert done.stderr == f"voice-stack: no asr service answers at {CLOSED}\n"
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["service", "model", "state", "pid", "memory", "device"]
    (line,) = (line.split() for line in lines)
    assert (line[0], line[1], line[2], line[-1]) == ("tts", "fake", "ready", "cpu")
    (row,) = json.loads(ps("--json").stdout)
    assert set(row) == {"service", "id", "state", "pid", "rss_bytes", "device"}
    assert row["rss_bytes"] > 0


@pytest.mark.e2e
def test_a_service_that_wants_another_key(alone: pytest.MonkeyPatch, start_service: Any) -> None:
    service = start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake", "API_KEYS": "right"})
    alone.setenv("TTS_URL", service.url)
    alone.setenv("API_KEYS", "wrong")
    done = ps()
    assert done.exit_code == 1
    assert f"the tts service at {service.url} answered 401" in done.stderr
    alone.setenv("API_KEYS", "right")
    assert ps().exit_code == 0
