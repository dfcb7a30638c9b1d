from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from core.engines import Device, EngineContext
from core.errors import ConfigurationError
from core.onnx import open_session

SRC = Path(__file__).resolve().parents[3] / "src"


@pytest.mark.parametrize("device", ["cuda", "rocm", "mps"])
def test_a_device_that_this_onnxruntime_lacks_is_refused(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigurationError, match=device):
        open_session(tmp_path / "model.onnx", EngineContext(device=device))


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.onnx"):
        open_session(tmp_path / "model.onnx", EngineContext())


def test_onnxruntime_does_not_report_its_use(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    script = "import voice_stack, onnxruntime"
    subprocess.run([sys.executable, "-c", script], cwd=SRC, check=True, env={**clean, "TMPDIR": str(tmp_path)})
    # Its uploader begins with a session file in the temporary folder.
    assert list(tmp_path.iterdir()) == []
