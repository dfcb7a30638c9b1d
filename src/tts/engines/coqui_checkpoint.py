"""What a model folder may make the library do: read weights and the files beside them, run nothing, change nothing."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Set
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError, NotSupported
from tts.engines.coqui_files import COMPANIONS, CoquiFolder


def read_config(folder: CoquiFolder, families: Set[str]) -> Any:
    """Return the library's configuration of a folder, made harmless, for a model of one of the families.

    Raises NotSupported for a file of statistics and for another family, ConfigurationError for a foreign class name.
    """
    from TTS.config import load_config

    refuse_statistics(folder)
    config = load_config(str(folder.config_path))
    # `base_model` tells our family, but which of the two the library follows depends on the class of configuration.
    for name in (config.model, config.base_model if "base_model" in config else None):
        if name and name.lower() not in families:
            raise NotSupported(f"config.json names two families of models: {folder.family} and {name.lower()}")
    _localise(config, folder)
    return config


def refuse_statistics(folder: CoquiFolder) -> None:
    """Raise NotSupported for a model or vocoder that is scaled by a file of statistics: reading it runs its pickle."""
    if folder.names_statistics:
        raise NotSupported(
            f"config.json of the Coqui model {folder.path.name} names a statistics file (stats_path); the library reads"
            " such files in a way that can run code, so models that need one are not loaded"
        )


def _localise(config: Any, folder: CoquiFolder) -> None:
    """Point the file names of a configuration into the model's folder, its class names into the library.

    Raises ConfigurationError for an alphabet that is a class of another package: naming it would import that.
    """
    characters = config.characters and config.characters.characters_class
    if characters and not characters.startswith("TTS.tts."):
        raise ConfigurationError("the model's alphabet is a class that is not Coqui's")
    for field in COMPANIONS:
        path = folder.companion(field)
        for holder in (config, config.model_args):
            if field in holder:
                holder[field] = str(path) if path else None
    # The speaker encoder serves training, `speaker_file` is an older name; the paths may even be URLs.
    for field in ("speaker_encoder_model_path", "speaker_encoder_config_path", "speaker_file"):
        for holder in (config, config.model_args):
            if field in holder:
                holder[field] = ""
    if "use_speaker_encoder_as_loss" in config.model_args:
        config.model_args["use_speaker_encoder_as_loss"] = False


def load_speaker_encoder(folder: CoquiFolder) -> Any:
    """Return the library's manager of d-vectors with the encoder of a folder loaded on the CPU, None without one."""
    if (found := folder.speaker_encoder()) is None:
        return None
    from TTS.tts.utils.speakers import SpeakerManager

    weights, config = found
    return SpeakerManager(encoder_model_path=str(weights), encoder_config_path=str(config))


def load_xtts(folder: CoquiFolder) -> Any:
    """Return the library's Xtts with the weights of a folder, ready to speak on the CPU."""
    from TTS.tts.models.xtts import Xtts

    class SafeXtts(Xtts):  # type: ignore[misc]
        """Xtts that never rewrites its checkpoint: the library converts an old one in place, changing its hash."""

        def _load_checkpoint(self, model_path: str | os.PathLike[str]) -> Any:
            return _read_checkpoint(Path(model_path))["model"]

    config = read_config(folder, {"xtts"})
    # A tokenizer path of the training machine must not be followed; vocab.json lies beside the checkpoint.
    config.model_args.tokenizer_file = ""
    model = SafeXtts(config)
    model.load_checkpoint(
        config,
        checkpoint_dir=str(folder.path),
        checkpoint_path=str(folder.checkpoint()),
        eval=True,
        use_deepspeed=False,
    )
    return model


def _read_checkpoint(path: Path) -> Any:
    """Read weights without running code: beside tensors only the configuration classes of the first XTTS are let in."""
    import torch
    from TTS.config.shared_configs import BaseDatasetConfig
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig

    moved = [(cls, f"TTS.tts.models.xtts.{cls.__name__}") for cls in (XttsArgs, XttsAudioConfig)]
    with torch.serialization.safe_globals([BaseDatasetConfig, XttsConfig, XttsArgs, XttsAudioConfig, *moved]):
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
