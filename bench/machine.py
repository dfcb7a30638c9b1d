"""What a benchmark ran on: processor, memory, load and the versions that matter, as JSON facts."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from core.devices import usable_cores
from utils.audio import ffmpeg

PACKAGES = (
    "voice-stack", "faster-whisper", "ctranslate2", "onnxruntime", "kokoro-onnx", "numpy", "fastapi", "uvicorn",
)  # fmt: skip
IDLE_LOAD = 0.5


class Machine(BaseModel):
    """A machine, and how busy it was just before the measurement: `load` is the one-minute average."""

    model_config = ConfigDict(frozen=True)

    cpu: str
    cores: int
    memory_gb: float
    load: float
    system: str
    python: str
    ffmpeg: str
    versions: Mapping[str, str]
    commit: str | None

    @property
    def idle(self) -> bool:
        """Whether so little else was running that the figures mean something."""
        return self.load < IDLE_LOAD


def describe() -> Machine:
    """Return what this machine is and how busy it is now."""
    return Machine(
        cpu=_cpu(),
        cores=usable_cores(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        load=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        python=platform.python_version(),
        ffmpeg=ffmpeg.version(),
        versions={name: found for name in PACKAGES if (found := _version(name))},
        commit=_commit(),
    )


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the checkout's commit, marked when files differ from it; None where there is no git."""
    root = Path(__file__).resolve().parent.parent
    command = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None
