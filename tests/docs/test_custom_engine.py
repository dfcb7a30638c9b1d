"""examples/custom_engine, a package of somebody else: installed into a fresh environment, tested, and put to work."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "custom_engine"
TEXT = "the kettle is on"
WHISTLE = {f"{service}_{name}": "whistle" for service in ("ASR", "TTS", "DIARIZATION") for name in ("ENGINE", "MODEL")}


class Shell:
    """Commands in a folder with a copy of the package, in an environment that has it installed."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ

    def __call__(self, *command: str, fails: bool = False, **settings: str) -> str:
        """Run a command that has to succeed, or else to fail, and return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ | settings,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if fails else done.stdout


@pytest.fixture
def shell(tmp_path: Path, environ: dict[str, str]) -> Shell:
    folder = tmp_path / "whistle"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "build", "dist", "*.egg-info"))
    shell = Shell(folder, environ)
    # Not editable: what is imported is what the package's wheel holds.
    shell("python", "-m", "pip", "install", "-q", ".")
    return shell


def test_an_outside_package_works_from_its_own_tests_to_the_services(shell: Shell) -> None:
    assert " passed" in shell("python", "-m", "pytest", "-q", "-p", "no:randomly")

    engines = shell("voice-stack", "doctor", **WHISTLE, COLUMNS="200")
    for kind in ("asr", "diarization", "tts"):
        assert any(line.split()[:3] == ["engine", f"{kind}/whistle", "ok"] for line in engines.splitlines()), engines

    shell("voice-stack", "speak", "--local", TEXT, "-o", "whistled.wav", **WHISTLE)
    assert shell("voice-stack", "transcribe", "--local", "whistled.wav", **WHISTLE).strip() == TEXT
    turns = json.loads(shell("voice-stack", "diarize", "--local", "whistled.wav", "-f", "json", **WHISTLE))
    assert len({segment["speaker"] for segment in turns["segments"]}) == 1

    served = shell("voice-stack", "serve", "all", "--asr-port", "0", "--tts-port", "0", "--exit", **WHISTLE)
    assert "wer=0.00" in served


def test_outside_engines_can_be_kept_out(shell: Shell) -> None:
    settings = WHISTLE | {"VOICE_STACK_PLUGINS": "off"}
    said = shell("voice-stack", "transcribe", "--local", "pyproject.toml", fails=True, **settings)
    assert "unknown engine 'whistle'" in " ".join(said.split())
