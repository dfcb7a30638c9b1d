"""A model whose files are damaged: the service stays up and says why it is not ready."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.e2e


def test_truncated_weights_are_told_by_readyz(model_dir: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(model_dir("whisper-tiny.en"), folder)
    with (folder / "model.bin").open("r+b") as weights:
        weights.truncate(1 << 20)
    service = subprocess.Popen(
        [sys.executable, "-P", "-m", "voice_stack", "serve", "asr", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ASR_MODEL": str(folder)},
        cwd=tmp_path,
    )
    assert service.stdout is not None
    try:
        line = service.stdout.readline()
        assert line.startswith("not ready: http"), line
        url = line.split()[2]
        ready = httpx.get(f"{url}/readyz")
        assert ready.status_code == 503
        assert "cannot load" in ready.json()["reason"]
        assert httpx.get(f"{url}/livez").status_code == 200
        answer = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": b"RIFF"}, timeout=30)
        assert answer.status_code == 400
    finally:
        service.terminate()
        service.communicate(timeout=20)
