"""Every example runs against real services and does what its first line says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SENTENCE = "The kettle is on and the tea will be ready in a minute."


def run(name: str, *arguments: str, asr: Any, tts: Any) -> str:
    command = [sys.executable, "-W", "ignore"] if name.endswith(".py") else ["bash"]
    done = subprocess.run(
        [*command, str(EXAMPLES / name), *arguments],
        env={**os.environ, "ASR_URL": asr.url, "TTS_URL": tts.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recording(real_asr: Any, real_tts: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("examples") / "speech.mp3"
    run("speak.py", SENTENCE, str(target), asr=real_asr, tts=real_tts)
    assert target.stat().st_size > 10_000
    return str(target)


@pytest.mark.parametrize("name", ["transcribe.py", "captions.py", "word_times.py", "job.py", "subtitles.sh"])
def test_an_example_hears_what_was_said(name: str, recording: str, real_asr: Any, real_tts: Any) -> None:
    if name.endswith(".sh") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    printed = run(name, recording, asr=real_asr, tts=real_tts).lower()
    for word in ("kettle", "tea", "minute"):
        assert word in printed, printed


def test_the_list_of_examples_is_complete() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for file in EXAMPLES.iterdir():
        assert file.name == "README.md" or f"({file.name})" in listed
