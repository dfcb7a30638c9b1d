"""What the tests of the tool chain share: fresh environments that need no download."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

# pip then takes dependencies and the build backend from where `fresh_venv` found them.
PIP_WITHOUT_DOWNLOADS = {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}


@pytest.fixture(scope="session")
def plain_environ() -> dict[str, str]:
    """The environment without settings of the services, and with a pip that downloads nothing."""
    settings = ("ASR_", "TTS_", "VOICE_STACK_", "PYTHONPATH", "VIRTUAL_ENV")
    return {k: v for k, v in os.environ.items() if not k.startswith(settings)} | PIP_WITHOUT_DOWNLOADS


@pytest.fixture(scope="session")
def fresh_venv() -> Callable[[Path], Path]:
    """A function that makes an environment holding only pip, which can import our dependencies but not this checkout.

    A path file shows it the site-packages of the running environment; path files in there, such as the one of the
    editable install, do not count from outside.
    """

    def make(folder: Path) -> Path:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        return folder

    return make
