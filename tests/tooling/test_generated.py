"""The generated pages are up to date, and .env.example means what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.settings import AsrSettings
from core.settings import ServiceSettings
from tts.settings import TtsSettings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [AsrSettings, TtsSettings]
# The environment names of the project's first README; all of them keep working.
BRIEF_NAMES = [
    "PROJECT_NAME",
    "API_V1_STR",
    "CORS_ORIGINS",
    "ASR_DEVICE",
    "ASR_MODEL",
    "ASR_ENGINE",
    "ASR_VAD_ENABLED",
    "ASR_LANGUAGE",
    "TTS_DEVICE",
    "TTS_MODEL",
    "TTS_VOICE_DIR",
    "TTS_AUTO_LANG",
    "TTS_MAX_CHARS",
    "TTS_SAMPLE_RATE",
    "LOG_LEVEL",
    "DEBUGPY_ENABLE",
    "DEBUGPY_HOST",
    "DEBUGPY_PORT",
    "DEBUGPY_WAIT_FOR_CLIENT",
]


def test_generated_files_match_the_code() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_word_that_stands_for_a_number_is_told() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert "| `TTS_MAX_INPUT` | `50000` | integer, > 0 or strict |" in page


def test_paths_of_files_are_no_folders() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in ("MODELS_FILE", "ASR_ENGINE_OPTIONS__CA_FILE", "TTS_ENGINE_OPTIONS__CODEC"):
        assert re.search(rf"\| `{name}` \|[^|]*\| file \|", page), name


@pytest.mark.parametrize("name", BRIEF_NAMES)
def test_every_promised_name_is_listed(name: str) -> None:
    assert f"# {name}=" in (ROOT / ".env.example").read_text(encoding="utf-8")
    assert f"| `{name}` |" in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_example_holds_the_defaults(
    settings: type[ServiceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [str(field.validation_alias) for field in settings.model_fields.values()]:
        monkeypatch.delenv(name, raising=False)
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    plain = settings()
    (tmp_path / ".env").write_text(re.sub(r"^# ([A-Z_0-9]+=)", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    assert settings() == plain


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_file_as_it_is_changes_nothing(
    settings: type[ServiceSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = settings()
    (tmp_path / ".env").write_bytes((ROOT / ".env.example").read_bytes())
    assert settings() == plain
