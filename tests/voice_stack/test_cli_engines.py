"""`voice-stack engines`, run as a user runs it, with an outside package that is broken and one that lacks a library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr import engine_factory as asr_engines
from asr.diarization import engine_factory as diarizers
from tts import engine_factory as tts_engines

ENGINE = '''
from voice_stack import TtsEngine
class Morse(TtsEngine):
    requires = ("no_such_library.speech",)
    licence = "BSD-3-Clause"
class Plain(TtsEngine):
    """Says nothing of a licence."""
'''


def engines(*arguments: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "40", "NO_COLOR": "1", **({"PYTHONPATH": str(folder)} if folder else {})}
    return subprocess.run(
        [sys.executable, "-P", "-m", "voice_stack", "engines", *arguments],
        env={**environment, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def rows(*, folder: Path | None = None, **env: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["task"], row["name"]): row for row in json.loads(engines("--json", folder=folder, **env).stdout)}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of packages: one whose module cannot be imported, one whose library is not installed."""
    for name, group, target in (
        ("broken", "voice_stack.asr_engines", "broken_engine:Engine"),
        ("morse", "voice_stack.tts_engines", "morse_engine:Morse"),
        ("plain", "voice_stack.tts_engines", "morse_engine:Plain"),
    ):
        info = tmp_path / f"my_{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-{name}\nVersion: 1\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n", encoding="utf-8")
    (tmp_path / "broken_engine.py").write_text("raise OSError('wrong [/x] library')\n", encoding="utf-8")
    (tmp_path / "morse_engine.py").write_text(ENGINE, encoding="utf-8")
    return tmp_path


def test_every_engine_is_listed_with_its_licence() -> None:
    found = rows(VOICE_STACK_PLUGINS="off")
    ours = {("ASR", name) for name in asr_engines.TABLE} | {("TTS", name) for name in tts_engines.TABLE}
    assert set(found) == ours | {("speakers", name) for name in diarizers.TABLE}
    assert all(row["origin"] is None and row["licence"] and not row["problem"] for row in found.values())
    assert found["ASR", "faster-whisper"]["available"]
    assert all(bool(row["install"]) is bool(row["missing"]) is not row["available"] for row in found.values())


@pytest.mark.skipif(find_spec("TTS") is not None, reason="the extra coqui is installed")
def test_what_is_missing_has_its_pip_line() -> None:
    assert rows()["TTS", "coqui"]["install"] == "pip install 'voice-stack[coqui]'"
    line = next(line for line in engines().stdout.splitlines() if line.split()[:2] == ["TTS", "coqui"])
    # Whole, however narrow the terminal is.
    assert line.endswith("pip install 'voice-stack[coqui]'")


def test_engines_of_other_packages(outside: Path) -> None:
    found = rows(folder=outside)
    broken, morse = found["ASR", "broken"], found["TTS", "morse"]
    assert (broken["origin"], broken["available"]) == ("my-broken", False)
    assert "OSError: wrong [/x] library" in broken["problem"]
    assert (morse["origin"], morse["licence"], morse["available"]) == ("my-morse", "BSD-3-Clause", False)
    assert morse["install"] == "pip install no_such_library.speech"
    assert (found["TTS", "plain"]["licence"], found["TTS", "plain"]["available"]) == (None, True)
    text = engines(folder=outside).stdout
    assert "wrong [/x] library" in text
    assert "my-morse" in text


def test_those_kept_out_are_not_listed(outside: Path) -> None:
    assert ("TTS", "morse") not in rows(folder=outside, VOICE_STACK_PLUGINS="off")
