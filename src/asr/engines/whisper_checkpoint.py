"""openai-whisper's checkpoints: found in a folder, read as weights only, never fetched from anywhere."""

from __future__ import annotations

import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError, InsufficientMemory, ModelBroken

_SIZES = {"n_mels": (80, 128), "n_audio_ctx": (1500,), "n_text_ctx": (448,), "n_vocab": (51864, 51865, 51866)}
"""What the sizes of all Whispers are: windows, timestamps and tokens mean the same in each."""
_MOST_LAYERS = 64
# What torch.load and a model raise for a file that is none of theirs.
_DAMAGE = (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, OSError, zipfile.BadZipFile)


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
    its models ("base.pt"); else the upper half of the layers, whose times are coarser. Raises InsufficientMemory, and
    ModelBroken, also for a file that holds more than weights and plain data.
    """
    import whisper

    try:
        _refuse_packed(path)
        checkpoint = _read(path)
        dims, weights = whisper.ModelDimensions(**checkpoint["dims"]), checkpoint["model_state_dict"]
        _check(dims, weights, most=path.stat().st_size)
        model = whisper.Whisper(dims)
        model.load_state_dict(weights)
        _set_heads(model, checkpoint.get("alignment_heads"), path.stem)
    except pickle.UnpicklingError as error:
        raise ModelBroken(f"the checkpoint of {name} holds something else than weights; it was not loaded") from error
    except (MemoryError, *_DAMAGE) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise InsufficientMemory(f"the machine has no memory left for {name}") from error
        reason = str(error).replace(str(path), name).partition("\n")[0]
        told = reason if isinstance(error, ValueError) else f"{type(error).__name__}: {reason}"
        raise ModelBroken(f"openai-whisper cannot load {name}: {told}") from error
    return model.eval()


def _refuse_packed(path: Path) -> None:
    """Raise ValueError for an archive that unpacks to more than it is: PyTorch writes them unpacked."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("the archive is packed")


def _read(path: Path) -> dict[str, Any]:
    """Return what the file holds. Raises UnpicklingError, ValueError, and what torch does when memory is short."""
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        if isinstance(error, OSError) or "allocate memory" in str(error):
            raise
        raise ValueError("its checkpoint is cut short or damaged, or none of PyTorch's") from error
    if not isinstance(found, dict) or not {"dims", "model_state_dict"} <= found.keys():
        raise ValueError("its checkpoint is none of openai-whisper's")
    return found


def _check(dims: Any, weights: Any, *, most: int) -> None:
    """Raise ValueError for sizes that no Whisper has, or weights that are not theirs or more than `most` numbers.

    What is refused here would take any amount of memory or time, or fail in the middle of a request.
    """
    import torch
    from whisper.model import AudioEncoder, TextDecoder

    for name, value in vars(dims).items():
        allowed = _SIZES.get(name, range(1, _MOST_LAYERS + 1) if name.endswith("_layer") else range(1, most))
        if type(value) is not int or value not in allowed:
            raise ValueError(f"no Whisper model has {name}={value!r}"[:200])
    if dims.n_audio_state % dims.n_audio_head or dims.n_text_state % dims.n_text_head:
        raise ValueError("the heads do not share the states evenly")
    if sum(tensor.numel() for tensor in weights.values()) > most:
        raise ValueError("the file holds fewer weights than it says")
    sizes = list(vars(dims).values())
    with torch.device("meta"):  # which takes no memory
        sides = torch.nn.ModuleDict({"encoder": AudioEncoder(*sizes[:5]), "decoder": TextDecoder(*sizes[5:])})
    wanted = sides.state_dict()
    if any(name not in weights or weights[name].shape != tensor.shape for name, tensor in wanted.items()):
        raise ValueError("the weights are not those of a model of its sizes")


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
