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

import numpy as np
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


def poison_statistics(path: Path, marker: Path) -> None:
    np.save(path, np.array([Payload(marker)], dtype=object), allow_pickle=True)


def edit(path: Path, section: str, **values: object) -> None:
    config = json.loads(path.read_text())
    config.setdefault(section, {}).update(values)
    path.write_text(json.dumps(config))


def test_the_statistics_would_run(tmp_path: Path) -> None:
    """The library reads them as it does here: without our refusal the next tests would find the folder."""
    from TTS.config.shared_configs import BaseAudioConfig
    from TTS.utils.audio import AudioProcessor

    poison_statistics(tmp_path / "scale_stats.npy", tmp_path / "ran")
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it says about what is not statistics
        AudioProcessor(BaseAudioConfig(stats_path=str(tmp_path / "scale_stats.npy")))
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("model", ["xtts_dir", "vits_dir", "glow_dir"])
def test_code_in_the_statistics_of_a_model_does_not_run(
    model: str,
    copy: Callable[[Path], Path],
    tmp_path: Path,
    load_engine: Callable[[Path], CoquiEngine],
    request: pytest.FixtureRequest,
) -> None:
    folder = copy(request.getfixturevalue(model))
    poison_statistics(folder / "scale_stats.npy", tmp_path / "ran")
    edit(folder / "config.json", "audio", stats_path=str(folder / "scale_stats.npy"), signal_norm=True)
    with pytest.raises(NotSupported, match="statistics file"):
        load_engine(folder)
    assert not (tmp_path / "ran").exists()


def test_code_in_the_statistics_of_a_vocoder_does_not_run(
    copy: Callable[[Path], Path], tmp_path: Path, glow_dir: Path, load_engine: Callable[[Path], CoquiEngine]
) -> None:
    from TTS.vocoder.configs import HifiganConfig

    folder = copy(glow_dir)
    vocoder = folder / "vocoder"
    vocoder.mkdir()
    shutil.copy(folder / "model.pth", vocoder / "model.pth")
    HifiganConfig().save_json(str(vocoder / "config.json"))
    poison_statistics(vocoder / "scale_stats.npy", tmp_path / "ran")
    edit(vocoder / "config.json", "audio", stats_path=str(vocoder / "scale_stats.npy"), signal_norm=True)
    with pytest.raises(NotSupported, match="statistics file"):
        load_engine(folder)
    assert not (tmp_path / "ran").exists()


def test_the_speaker_encoder_a_configuration_names_is_not_read(
    copy: Callable[[Path], Path], tmp_path: Path, vits_dir: Path, load_engine: Callable[[Path], CoquiEngine]
) -> None:
    folder = copy(vits_dir)
    poison(folder / "model_se.pth", tmp_path / "ran")
    poison_statistics(folder / "scale_stats.npy", tmp_path / "ran")
    (folder / "config_se.json").write_text('{"model": "speaker_encoder"}')
    edit(folder / "config_se.json", "audio", stats_path=str(folder / "scale_stats.npy"), signal_norm=True)
    paths = {"model": str(folder / "model_se.pth"), "config": str(folder / "config_se.json")}
    named = {f"speaker_encoder_{kind}_path": path for kind, path in paths.items()}
    edit(folder / "config.json", "model_args", **named)
    assert load_engine(folder).voices()
    assert not (tmp_path / "ran").exists()


def test_a_family_is_not_smuggled_in_under_another_name(
    copy: Callable[[Path], Path], glow_dir: Path, load_engine: Callable[[Path], CoquiEngine]
) -> None:
    """The library would make a Bark of it, which fetches its weights from the network."""
    folder = copy(glow_dir)
    (folder / "config.json").write_text('{"base_model": "glow_tts", "model": "bark"}')
    with pytest.raises(NotSupported, match="bark"):
        load_engine(folder)


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
    (tmp_path / "config.json").write_text('{"model": "no_such_family"}')
    with pytest.raises(NotSupported, match="no_such_family"):
        load_engine(tmp_path)
