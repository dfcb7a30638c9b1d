"""openai-whisper's checkpoints: found in a folder, read as weights only, never fetched from anywhere."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError, ModelBroken

_MELS = (80, 128)
_AUDIO_POSITIONS = 1500
"""Those of a window of 30 seconds: with another number the timestamps would mean something else."""
# What torch.load and a model raise for a file that is none of theirs.
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError)


def checkpoint_file(model: Path | None, name: str) -> Path:
    """Return the checkpoint: `model` itself, or the one *.pt in the folder `model`.

    Raises ConfigurationError without a model, ModelBroken for a folder without a checkpoint or with several.
    """
    if model is None:
        raise ConfigurationError("whisper needs a checkpoint of openai-whisper (*.pt), or the folder of one")
    if model.is_file():
        return model
    found = sorted(model.glob("*.pt"))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise ModelBroken(f"the folder of {name} must hold one checkpoint of openai-whisper (*.pt); there is: {there}")
    return found[0]


def load_checkpoint(path: Path, name: str) -> Any:
    """Return the openai-whisper model of a file, on the CPU in float32, with the heads that word times come from.

    Those are what the file says ("alignment_heads", pairs of layer and head), or the library for a file named as one of
    its models ("base.pt"); else the upper half of the layers, whose times are coarser. Raises ModelBroken, also for a
    file that holds more than weights and plain data; MemoryError and the like pass.
    """
    import torch
    import whisper

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        dims = whisper.ModelDimensions(**checkpoint["dims"])
        if dims.n_mels not in _MELS or dims.n_audio_ctx != _AUDIO_POSITIONS:
            raise ModelBroken(f"{name} is no Whisper model: {dims.n_mels} mels, {dims.n_audio_ctx} audio positions")
        model = whisper.Whisper(dims)
        model.load_state_dict(checkpoint["model_state_dict"])
        _set_heads(model, checkpoint.get("alignment_heads"), path.stem)
    except pickle.UnpicklingError as error:
        raise ModelBroken(f"the checkpoint of {name} holds something else than weights; it was not loaded") from error
    except _DAMAGE as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise
        reason = str(error).replace(str(path), name).partition("\n")[0]
        raise ModelBroken(f"openai-whisper cannot load {name}: {type(error).__name__}: {reason}") from error
    return model.eval()


def make_half(model: Any) -> None:
    """Keep the large weights in float16, as they are used; the layer norms compute in float32."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding):
            module.half()


def _set_heads(model: Any, heads: Any, stem: str) -> None:
    import torch
    import whisper

    if heads:
        mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
        for layer, head in heads:
            mask[layer, head] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    elif dump := getattr(whisper, "_ALIGNMENT_HEADS", {}).get(stem):
        with suppress(RuntimeError):  # another model under that name
            model.set_alignment_heads(dump)
