"""The API process imports no ML library: they live in worker processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ML = (
    *("av", "ctranslate2", "faster_whisper", "huggingface_hub", "kokoro_onnx", "onnxruntime", "piper", "py3langid"),
    *("scipy", "soundfile", "soxr", "tokenizers", "torch", "TTS"),
)


@pytest.mark.parametrize("name", ["asr", "tts"])
def test_serving_imports_no_ml_library(name: str) -> None:
    code = (
        "import sys, voice_stack.cli, asyncio\n"
        f"from {name}.app import create_app\n"
        "app = create_app()\n"
        "from starlette.testclient import TestClient\n"
        "with TestClient(app) as client: client.get('/health')\n"
        f"print(*sorted(set({ML!r}) & set(sys.modules)))"
    )
    assert _printed(code, {f"{name.upper()}_{key}": "fake" for key in ("MODEL", "ENGINE")}) == []


def test_no_diarization_engine_brings_an_ml_library_with_its_class() -> None:
    code = (
        "import sys, voice_stack\n"
        "from asr.diarization.engine_factory import registry\n"
        "engines = registry()\n"
        "for name in engines.names(): engines.get(name).missing()\n"
        f"print(*sorted(set({ML!r}) & set(sys.modules)))"
    )
    assert _printed(code, {"VOICE_STACK_PLUGINS": "off"}) == []


def _printed(code: str, env: dict[str, str]) -> list[str]:
    """Return the words that a Python process prints."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
