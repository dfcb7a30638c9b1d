"""What the tests of the pages share: the environment of a reader who has installed voice-stack."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Nothing is downloaded: dependencies and the build backend come from the running environment.
PIP = {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
SETTINGS = ("ASR_", "TTS_", "DIARIZATION_", "VOICE_STACK_", "PYTHON", "VIRTUAL")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which a fresh venv with voice-stack and pytest is active."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    own = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    environ = own | PIP | {"PATH": f"{venv / 'bin'}:{own['PATH']}", "VOICE_STACK_TMP": str(tmp_path / "spool")}
    install = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--force-reinstall", "-e", str(ROOT)]
    subprocess.run(install, check=True, env=environ)
    return environ
