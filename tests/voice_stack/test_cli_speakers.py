"""`voice-stack speakers` with the registry of this machine and with a running service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from asr.diarization.engine import EncoderFacts, Voiceprint
from asr.diarization.people import People, Person
from core.errors import NotFound, Unavailable, VoiceStackError
from voice_stack.cli import speaker_places
from voice_stack.cli.speakers import app

FAKE = {
    "ASR_MODEL": "fake",
    "ASR_ENGINE": "fake",
    "DIARIZATION_MODEL": "fake-diarizer",
    "DIARIZATION_ENGINE": "fake-diarizer",
    "VOICEPRINTS": "on",
}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    folders = {f"VOICE_STACK_{name}": str(tmp_path / name.lower()) for name in ("STATE", "TMP")}
    return {**FAKE, **folders, "ASR_URL": NOBODY}


@pytest.fixture
def here(places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is no recording; the command line runs in this process, and leaves its log alone."""
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("core.logs.setup", lambda _level: None)
    file = tmp_path / "noise.wav"
    file.write_bytes(b"no recording")
    return file


def speakers(*arguments: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "voice_stack", "speakers", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "160", "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.e2e
def test_people_of_this_machine(places: dict[str, str], tmp_path: Path, speech_data: Path) -> None:
    one, other = speech_data / "en" / "jfk.mp3", speech_data / "en" / "jfk.wav"
    made = speakers("add", "John F.", one, other, "--label", "role=president", env=places)
    assert made.returncode == 0, made.stderr
    assert re.search(r"John F\. \(spk_[0-9a-f]{24}\) has 2 samples", made.stdout)
    listed = speakers("list", env=places)
    assert re.search(r"^ ?John F\. +2 +\d{4}-\d\d-\d\d +fake-voice +spk_", listed.stdout, re.MULTILINE), listed.stdout
    assert speakers("rm", "john f.", env=places).returncode == 0
    assert "John" not in speakers("list", env=places).stdout
    gone = speakers("rm", "John F.", env=places)
    assert (gone.returncode, "no such person" in gone.stderr) == (1, True)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("speakers.db*"))
    assert kept
    assert not re.search(rb"john|president|spk_", kept, re.IGNORECASE)


@pytest.mark.e2e
def test_people_of_a_running_service(
    start_service: Callable[..., Any], places: dict[str, str], tmp_path: Path, speech_data: Path
) -> None:
    service = start_service("asr", {**places, "API_KEYS": "secret", "VOICE_STACK_TMP": str(tmp_path / "spool")})
    env = {
        **FAKE,
        "ASR_URL": service.url,
        "API_KEYS": "secret",
        "VOICE_STACK_STATE": str(tmp_path / "elsewhere"),
    }
    made = speakers("add", "Anna", speech_data / "en" / "jfk.mp3", "--label", "team=blue", env=env)
    assert made.returncode == 0, made.stderr
    shown = httpx.get(f"{service.url}/v1/voice/speakers", headers={"x-api-key": "secret"}).json()["data"]
    assert [(each["name"], each["labels"], each["samples"]) for each in shown] == [("Anna", {"team": "blue"}, 1)]
    assert re.search(r"^ ?Anna +1 ", speakers("list", env=env).stdout, re.MULTILINE)
    assert "Anna" not in speakers("list", "--local", env=env).stdout
    refused = speakers("rm", "Anna", env={**env, "API_KEYS": "wrong"})
    assert (refused.returncode, "API key" in refused.stderr) == (1, True)
    assert speakers("rm", "ANNA", "--url", service.url, env=env).returncode == 0
    assert "Anna" not in speakers("list", env=env).stdout
    assert not list(tmp_path.glob("elsewhere/speakers.db"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "Anna", "FILE", "--label", "blue"], "KEY=VALUE"),
        (["add", "Anna", "FILE", "--label", "=blue"], "KEY=VALUE"),
        (["add", " ", "FILE", "--local"], "name"),
        (["add", "Anna", "FILE", "--url", NOBODY], "broke off"),
        (["list", "--url", NOBODY], "broke off"),
        (["rm", "Anna", "--local"], "no such person"),
        (["add", "Anna", "FILE", "--local"], "noise.wav: "),
    ],
)
def test_what_cannot_be_done(arguments: list[str], told: str, here: Path) -> None:
    failed = CliRunner().invoke(app, [str(here) if each == "FILE" else each for each in arguments])
    assert isinstance(failed.exception, VoiceStackError), failed.output
    assert told in failed.exception.message


@pytest.fixture
def anna(here: Path, tmp_path: Path) -> Person:
    """Somebody whom this machine knows."""
    facts = EncoderFacts(model="an-encoder-with-a-long-name", size=2, verify=0.3, identify=0.3)
    people = People(tmp_path / "state" / "speakers.db", enabled=True)
    person = people.register("Anna", Voiceprint(np.asarray([0.6, 0.8], np.float32), 5.0, facts))
    people.close()
    return person


@pytest.mark.parametrize("columns", [80, 60])
def test_a_narrow_list_has_whole_ids(columns: int, anna: Person) -> None:
    listed = CliRunner().invoke(app, ["list", "--local"], env={"COLUMNS": str(columns)})
    assert listed.exit_code == 0
    assert anna.id in listed.output


def test_trying_again_clears_what_could_not_be_cleared(
    anna: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_read(_: People) -> None:
        raise Unavailable("the registry is being read; try again")

    with monkeypatch.context() as patch:
        patch.setattr(People, "_scrub", is_read)
        failed = CliRunner().invoke(app, ["rm", "Anna", "--local"])
    assert isinstance(failed.exception, Unavailable)
    again = CliRunner().invoke(app, ["rm", "Anna", "--local"])
    assert isinstance(again.exception, NotFound)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert kept
    assert b"Anna" not in kept


def test_a_service_is_asked_to_forget_whom_it_does_not_list(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path} {request.content.decode()}")
        if request.method == "GET":
            return httpx.Response(200, json={"object": "list", "data": []})
        return httpx.Response(404, json={"error": {"message": "there is no such person", "code": "not_found"}})

    def client(url: str, _: object) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(speaker_places, "service_client", client)
    failed = CliRunner().invoke(app, ["rm", "Anna", "--url", NOBODY])
    assert isinstance(failed.exception, NotFound)
    assert asked == ["GET /voice/speakers ", 'POST /voice/forget {"id":"Anna"}']


def test_of_recordings_of_which_one_is_bad_none_is_kept(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if b"no recording" in request.content:
            return httpx.Response(400, json={"error": {"message": "no audio", "code": "invalid_audio"}})
        return httpx.Response(200, json={"id": "spk_1", "samples": 2, "low_confidence": False})

    def client(url: str, _: object) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=url, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(speaker_places, "service_client", client)
    good = tmp_path / "good.wav"
    good.write_bytes(b"a recording")
    failed = CliRunner().invoke(app, ["add", "Anna", str(good), str(here), "--url", NOBODY])
    assert isinstance(failed.exception, VoiceStackError), failed.output
    assert "noise.wav: no audio" in failed.exception.message
    assert asked == ["/voice/embed"] * 2
    assert CliRunner().invoke(app, ["add", "Anna", str(good), str(good), "--url", NOBODY]).exit_code == 0
    assert asked[2:] == ["/voice/embed"] * 2 + ["/voice/register"] * 2


@pytest.mark.parametrize("command", [["list"], ["rm", "Anna"], ["add", "Anna", "FILE"]])
def test_voiceprints_must_be_allowed(
    command: list[str], here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEPRINTS", "off")
    arguments = [str(here) if each == "FILE" else each for each in command]
    failed = CliRunner().invoke(app, [*arguments, "--local"])
    assert isinstance(failed.exception, VoiceStackError), failed.output
    assert failed.exception.code == "voiceprints_disabled"
    assert not (tmp_path / "state").exists()
