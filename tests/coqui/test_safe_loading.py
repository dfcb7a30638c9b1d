"""A checkpoint that holds code is refused, and the code does not run; an old one with its configuration is read."""

# ruff: noqa: PLC0415 - torch and Coqui are imported in functions: collecting must work without them

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import ConfigurationError, NotSupported
from tts.engines.coqui import CoquiEngine
from tts.voice import SpeechOptions

LEGACY_MODULE = "TTS.tts.models.xtts"


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda model: Path(shutil.copytree(model, tmp_path / "model"))


def poison(path: Path, marker: Path) -> None:
    import torch

    torch.save({"model": {}, "config": {}, "extra": Payload(marker)}, path)


def test_the_payload_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    poison(tmp_path / "model.pth", tmp_path / "ran")
    torch.load(tmp_path / "model.pth", weights_only=False)
    assert (tmp_path / "ran").is_dir()


def test_a_loaded_engine_lets_nobody_in_its_process_run_it(xtts: CoquiEngine, tmp_path: Path) -> None:
    import torch

    poison(tmp_path / "model.pth", tmp_path / "ran")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "model.pth", weights_only=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("model", "file"),
    [("xtts_dir", "model.pth"), ("xtts_dir", "speakers_xtts.pth"), ("vits_dir", "model_file.pth")],
)
def test_code_in_a_checkpoint_does_not_run(
    model: str,
    file: str,
    copy: Callable[[Path], Path],
    tmp_path: Path,
    load_engine: Callable[[Path], CoquiEngine],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = copy(request.getfixturevalue(model))
    poison(folder / file, tmp_path / "ran")
    with pytest.raises(ConfigurationError, match="something else than weights"):
        load_engine(folder)
    assert not (tmp_path / "ran").exists()
    assert "refused a checkpoint" in caplog.text


def test_code_in_a_speakers_file_does_not_run(
    copy: Callable[[Path], Path], tmp_path: Path, vits_many_dir: Path, load_engine: Callable[[Path], CoquiEngine]
) -> None:
    folder = copy(vits_many_dir)
    (folder / "speaker_ids.json").unlink()
    poison(folder / "speaker_ids.pth", tmp_path / "ran")
    with pytest.raises(ConfigurationError, match="something else than weights"):
        load_engine(folder)
    assert not (tmp_path / "ran").exists()


def test_a_configuration_does_not_import_what_it_likes(
    copy: Callable[[Path], Path],
    tmp_path: Path,
    vits_dir: Path,
    load_engine: Callable[[Path], CoquiEngine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copy(vits_dir)
    (tmp_path / "bystander.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\nclass Letters: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["characters"] = {"characters_class": "bystander.Letters", "pad": "_", "characters": "abc"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match="alphabet"):
        load_engine(folder)
    assert not (tmp_path / "ran").exists()


def test_the_first_xtts_checkpoints_are_read_and_left_as_they_are(
    copy: Callable[[Path], Path], xtts_dir: Path, load_engine: Callable[[Path], CoquiEngine]
) -> None:
    """They hold their configuration as objects of a module that moved; the library rewrites such a file in place."""
    import torch
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig

    folder = copy(xtts_dir)
    config = XttsConfig()
    config.load_json(str(folder / "config.json"))
    weights = torch.load(folder / "model.pth", weights_only=True)["model"]
    home = XttsArgs.__module__
    XttsArgs.__module__ = XttsAudioConfig.__module__ = LEGACY_MODULE
    try:
        torch.save({"config": config, "model": weights}, folder / "model.pth")
    finally:
        XttsArgs.__module__ = XttsAudioConfig.__module__ = home
    before = hashlib.sha256((folder / "model.pth").read_bytes()).digest()
    engine = load_engine(folder)
    assert next(iter(engine.synthesize("One.", engine.voices()[0], SpeechOptions()))).samples.size
    assert hashlib.sha256((folder / "model.pth").read_bytes()).digest() == before


@pytest.mark.parametrize("missing", ["model.pth", "vocab.json", "config.json"])
def test_a_folder_that_is_not_whole_is_refused(
    missing: str, copy: Callable[[Path], Path], xtts_dir: Path, load_engine: Callable[[Path], CoquiEngine]
) -> None:
    folder = copy(xtts_dir)
    (folder / missing).unlink()
    with pytest.raises(ConfigurationError):
        load_engine(folder)


def test_weights_of_another_shape_are_refused(
    copy: Callable[[Path], Path], xtts_dir: Path, vits_dir: Path, load_engine: Callable[[Path], CoquiEngine]
) -> None:
    folder = copy(xtts_dir)
    shutil.copy(vits_dir / "model_file.pth", folder / "model.pth")
    with pytest.raises(ConfigurationError):
        load_engine(folder)


def test_a_family_it_does_not_know_is_named(tmp_path: Path, load_engine: Callable[[Path], CoquiEngine]) -> None:
    (tmp_path / "config.json").write_text('{"model": "tortoise"}')
    with pytest.raises(NotSupported, match="tortoise"):
        load_engine(tmp_path)
