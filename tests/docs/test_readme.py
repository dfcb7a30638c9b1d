"""What the README shows works as it stands there; only the addresses are those of the services under test."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from utils.text.wer import word_error_rate

pytestmark = pytest.mark.e2e
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"<!-- test: ([\w-]+) -->\n```\w+\n(.*?)```", README, flags=re.DOTALL))
SENTENCE = "The kettle is on and the tea will be ready in a minute."
SPEAKERS = {"curl-speakers": "SPEAKER_00: ", "sdk-speakers": "Anna: "}
"""Who says it, in front of what is said."""


@pytest.fixture(scope="module")
def folder(real_tts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with audio.mp3, x.mp3 and anna.mp3, all the same, spoken by our own service."""
    place = tmp_path_factory.mktemp("readme")
    spoken = httpx.post(f"{real_tts.url}/v1/audio/speech", json={"input": SENTENCE}, timeout=120)
    assert spoken.status_code == 200, spoken.text
    for name in ("audio.mp3", "x.mp3", "anna.mp3"):
        (place / name).write_bytes(spoken.content)
    return place


def run(name: str, folder: Path, asr: Any, tts: Any) -> str:
    snippet = SNIPPETS[name]
    for port, service in (("5001", asr), ("5002", tts)):
        snippet = re.sub(rf"(?:http://)?localhost:{port}", service.url, snippet)
    if name.startswith("curl") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["bash", "-ec", snippet] if name.startswith("curl") else [sys.executable, "-W", "ignore", "-c", snippet]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [name for name in SNIPPETS if "tts" not in name])
def test_transcribing_snippets_print_what_was_said(name: str, folder: Path, real_asr: Any, real_tts: Any) -> None:
    printed = run(name, folder, real_asr, real_tts)
    speaker = SPEAKERS.get(name, "")
    assert printed.startswith(speaker), printed
    heard = re.sub(r'^\{"text":"(.*?)".*', r"\1", printed.removeprefix(speaker))
    assert word_error_rate(SENTENCE, heard) <= 0.1, printed


@pytest.mark.parametrize(("name", "file"), [("curl-tts", "speech.mp3"), ("sdk-tts", "output.mp3")])
def test_speaking_snippets_write_speech(name: str, file: str, folder: Path, real_asr: Any, real_tts: Any) -> None:
    run(name, folder, real_asr, real_tts)
    answer = httpx.post(
        f"{real_asr.url}/v1/audio/transcriptions", files={"file": (folder / file).read_bytes()}, timeout=60
    )
    assert "hello" in answer.json()["text"].lower()


def test_the_readme_has_the_snippets_of_both_services() -> None:
    assert {"curl-asr", "curl-translate", "curl-tts", "sdk-asr", "sdk-translate", "sdk-tts", *SPEAKERS} <= set(SNIPPETS)
