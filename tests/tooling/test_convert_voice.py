"""scripts/convert_voice.py and voice_gguf.py as commands: what they need, what they wrote, what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from scripts import convert_voice, voice_gguf

SCRIPTS = [(convert_voice, "joe", "sherpa-onnx"), (voice_gguf, "joe.gguf", "crispasr")]


@pytest.mark.e2e
@pytest.mark.parametrize(("script", "name", "engine"), SCRIPTS)
def test_success_says_how_to_speak(
    script: ModuleType,
    name: str,
    engine: str,
    model_dir: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / name
    monkeypatch.setattr("sys.argv", ["script", str(model_dir("piper-en_US-joe-medium")), str(output)])
    assert script.main() == 0
    assert output.exists()
    assert f"TTS_ENGINE={engine} TTS_MODEL={output} " in capsys.readouterr().out


@pytest.mark.parametrize(("script", "name", "engine"), SCRIPTS)
def test_a_folder_without_a_voice(
    script: ModuleType,
    name: str,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "a.bin").write_bytes(bytes(1024))
    monkeypatch.setattr("sys.argv", ["script", str(tmp_path), str(tmp_path / name)])
    assert script.main() == 1
    assert "not converted: the folder holds n" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("script", "name", "engine"), SCRIPTS)
def test_the_help_says_what_is_needed(
    script: ModuleType, name: str, engine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["script", "--help"])
    with pytest.raises(SystemExit):
        script.main()
    assert "base install of voice-stack" in " ".join(capsys.readouterr().out.split())
