"""Write a Whisper model in CTranslate2's format for openai-whisper (.pt), as ggml (.bin) or for sherpa-onnx (a folder).

    python scripts/convert_whisper.py ~/.cache/voice-stack/models/whisper-base base.pt
    python scripts/convert_whisper.py ~/.cache/voice-stack/models/whisper-base ggml-base.bin
    python scripts/convert_whisper.py ~/.cache/voice-stack/models/whisper-base base-onnx

The ending of the output decides. CTranslate2's float16 file holds every weight of the original checkpoint, so nothing
is lost; quantised files (int8) are refused. It needs the Python of an install of voice-stack: for a .bin the base
install, for a .pt one with the extra `whisper` (torch), for a folder for sherpa-onnx the package onnx besides.
"""

from __future__ import annotations

import argparse
import json
import shlex
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.engines.faster_whisper_scores import piece_bytes

Array = npt.NDArray[Any]

_SPEC = b"WhisperSpec\0"
_OLDEST_VERSION = 4  # before it, types were not written
_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_FLOATS = ("float16", "float32")
_MAGIC = 0x67676D6C  # "ggml"
_FLOAT32, _FLOAT16 = 0, 1
_MULTILINGUAL_WORDS = 51865
_POSITIONS = "positional_embedding"


class NotConverted(Exception):
    """The folder is not a Whisper model of CTranslate2 with its weights in a floating-point format."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes of a model, named and ordered as in openai-whisper and in ggml's header but for the mels."""

    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int
    n_mels: int


def read_model(path: Path) -> dict[str, Array]:
    """Return the variables of a model.bin of CTranslate2 by name. Raises NotConverted, OSError."""
    try:
        return _variables(np.memmap(path, dtype=np.uint8, mode="r"))
    except (struct.error, KeyError, ValueError, UnicodeDecodeError) as error:
        raise NotConverted(f"{path} is not a model of CTranslate2: {error}") from error


def _variables(data: Array) -> dict[str, Array]:
    at = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        found = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return found

    def text() -> bytes:
        (size,) = take("H")
        return bytes(take(f"{size}s")[0])

    (version,) = take("I")
    if version < _OLDEST_VERSION or text() != _SPEC:
        raise NotConverted("the file is not a Whisper model of CTranslate2")
    _, count = take("2I")
    found = {}
    for _ in range(count):
        name = text().rstrip(b"\0").decode()
        (rank,) = take("B")
        shape = take(f"{rank}I")
        kind, size = take("BI")
        if kind not in _TYPES:
            raise NotConverted(f"{name} has an unknown type ({kind})")
        found[name] = np.frombuffer(data[at : at + size], dtype=_TYPES[kind]).reshape(shape)
        at += size
    return found


def dimensions(variables: Mapping[str, Array]) -> Dimensions:
    """Return the sizes that the shapes of the variables tell."""
    words, text_state = variables["decoder/embeddings/weight"].shape
    state, mels, _ = variables["encoder/conv1/weight"].shape
    return Dimensions(
        n_vocab=words,
        n_audio_ctx=len(variables["encoder/position_encodings/encodings"]),
        n_audio_state=state,
        n_audio_head=int(variables["encoder/num_heads"]),
        n_audio_layer=_layers(variables, "encoder"),
        n_text_ctx=len(variables["decoder/position_encodings/encodings"]),
        n_text_state=text_state,
        n_text_head=int(variables["decoder/num_heads"]),
        n_text_layer=_layers(variables, "decoder"),
        n_mels=mels,
    )


def _layers(variables: Mapping[str, Array], side: str) -> int:
    names = {name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")}
    return len(names - {"layer_norm"})


def state(variables: Mapping[str, Array]) -> dict[str, Array]:
    """Return openai-whisper's state dict: the same weights under its names, attention split into its parts."""
    found = {}
    for side, last in (("encoder", "ln_post"), ("decoder", "ln")):
        found[f"{side}.{_POSITIONS}"] = variables[f"{side}/position_encodings/encodings"]
        for layer in range(_layers(variables, side)):
            found |= _block(variables, f"{side}/layer_{layer}", f"{side}.blocks.{layer}", cross=side == "decoder")
        found |= _norm(variables, f"{side}/layer_norm", f"{side}.{last}")
    for conv in ("conv1", "conv2"):
        found |= _linear(variables, f"encoder/{conv}", f"encoder.{conv}")
    found["decoder.token_embedding.weight"] = variables["decoder/embeddings/weight"]
    for name, weights in found.items():
        if weights.dtype.name not in _FLOATS:
            raise NotConverted(f"the weights are quantised ({name} is {weights.dtype}); take a float16 model")
    return found


def _block(variables: Mapping[str, Array], old: str, new: str, *, cross: bool) -> dict[str, Array]:
    found = _attention(variables, f"{old}/self_attention", f"{new}.attn", stacked="qkv")
    if cross:
        found |= _attention(variables, f"{old}/attention", f"{new}.cross_attn", stacked="kv")
        found |= _norm(variables, f"{old}/attention/layer_norm", f"{new}.cross_attn_ln")
    found |= _norm(variables, f"{old}/self_attention/layer_norm", f"{new}.attn_ln")
    found |= _norm(variables, f"{old}/ffn/layer_norm", f"{new}.mlp_ln")
    found |= _linear(variables, f"{old}/ffn/linear_0", f"{new}.mlp.0")
    found |= _linear(variables, f"{old}/ffn/linear_1", f"{new}.mlp.2")
    return found


def _attention(variables: Mapping[str, Array], old: str, new: str, *, stacked: str) -> dict[str, Array]:
    """Return query, key, value and output; `stacked` says which of the first three lie in one matrix."""
    first = 3 - len(stacked)  # a query of its own comes before the matrix of keys and values
    found = _linear(variables, f"{old}/linear_{first + 1}", f"{new}.out")
    if first:
        found |= _linear(variables, f"{old}/linear_0", f"{new}.query")
    names = [{"q": "query", "k": "key", "v": "value"}[part] for part in stacked]
    for kind in ("weight", "bias"):
        parts = np.split(variables[f"{old}/linear_{first}/{kind}"], len(names))
        found |= {f"{new}.{name}.{kind}": part for name, part in zip(names, parts, strict=True)}
    del found[f"{new}.key.bias"]  # Whisper's keys have none, CTranslate2 writes zeros
    return found


def _linear(variables: Mapping[str, Array], old: str, new: str) -> dict[str, Array]:
    return {f"{new}.{kind}": variables[f"{old}/{kind}"] for kind in ("weight", "bias")}


def _norm(variables: Mapping[str, Array], old: str, new: str) -> dict[str, Array]:
    return {f"{new}.weight": variables[f"{old}/gamma"], f"{new}.bias": variables[f"{old}/beta"]}


def write_checkpoint(folder: Path, output: Path) -> None:
    """Write openai-whisper's checkpoint, with the heads for word times that config.json names beside its own keys."""
    import torch  # noqa: PLC0415 - ggml needs none

    checkpoint = _checkpoint(folder)
    if heads := _json(folder / "config.json").get("alignment_heads"):
        checkpoint["alignment_heads"] = [[int(layer), int(head)] for layer, head in heads]
    torch.save(checkpoint, output)


def _checkpoint(folder: Path) -> dict[str, Any]:
    import torch  # noqa: PLC0415 - ggml needs none

    variables = read_model(folder / "model.bin")
    dims = dimensions(variables)
    weights = state(variables).items()
    return {
        "dims": {name: getattr(dims, name) for name in Dimensions.__slots__},
        "model_state_dict": {name: torch.from_numpy(np.array(part, dtype=np.float16)) for name, part in weights},
    }


def write_onnx(folder: Path, output: Path) -> None:
    """Make the folder `output` with encoder.onnx, decoder.onnx (float32) and tokens.txt, as sherpa-onnx reads them."""
    import whisper  # noqa: PLC0415 - the others need none
    from scripts.whisper_onnx import write_networks  # noqa: PLC0415

    checkpoint = _checkpoint(folder)
    model = whisper.Whisper(whisper.ModelDimensions(**checkpoint["dims"]))
    model.load_state_dict(checkpoint["model_state_dict"])
    tokenizer = whisper.tokenizer.get_tokenizer(
        model.is_multilingual, num_languages=model.num_languages, language="en", task="transcribe"
    )
    output.mkdir()
    write_networks(model.eval(), tokenizer, output.name.removesuffix("-onnx"), output)


def write_ggml(folder: Path, output: Path) -> None:
    """Write whisper.cpp's format: matrices in float16, the rest in float32."""
    variables = read_model(folder / "model.bin")
    dims = dimensions(variables)
    with output.open("wb") as file:
        file.write(struct.pack("<12i", _MAGIC, *astuple(dims), _FLOAT16))
        filters = mel_filters(dims.n_mels)
        file.write(struct.pack("<2i", *filters.shape))
        file.write(filters.tobytes())
        tokens = list(token_bytes(folder, multilingual=dims.n_vocab >= _MULTILINGUAL_WORDS))
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, weights in state(variables).items():
            _write_tensor(file, name, weights)


def _write_tensor(file: BinaryIO, name: str, weights: Array) -> None:
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        weights = weights[:, None]  # added to the frames of a channel
        small = True
    else:
        small = weights.ndim == 1 or name.endswith(_POSITIONS)
    kind, numbers = (_FLOAT32, "<f4") if small else (_FLOAT16, "<f2")
    encoded = name.encode()
    shape = weights.shape[::-1]
    file.write(struct.pack(f"<3i{len(shape)}i", len(shape), len(encoded), kind, *shape) + encoded)
    file.write(np.ascontiguousarray(weights, dtype=numbers).tobytes())


def mel_filters(mels: int) -> npt.NDArray[np.float32]:
    """Return Whisper's mel filters, shape (mels, 201): those of faster-whisper."""
    from faster_whisper.feature_extractor import FeatureExtractor  # noqa: PLC0415 - it brings FFmpeg with it

    return np.asarray(FeatureExtractor(feature_size=mels).mel_filters, dtype="<f4")


def token_bytes(folder: Path, *, multilingual: bool) -> Iterator[bytes]:
    """Yield the bytes of every text token in the order of their numbers; special tokens are the reader's to add."""
    words = _json(folder / "tokenizer.json").get("model", {}).get("vocab", {})
    by_number = {number: piece for piece, number in words.items()}
    end = 50257 if multilingual else 50256
    if missing := [number for number in range(end) if number not in by_number]:
        raise NotConverted(f"tokenizer.json lacks {len(missing)} tokens")
    for number in range(end):
        yield piece_bytes(by_number[number])


def _json(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text(encoding="utf-8"))
    return data if isinstance(data, dict) else {}


def main() -> int:
    """Convert what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with model.bin, config.json and tokenizer.json")
    parser.add_argument("output", type=Path, help="NAME.pt, NAME.bin or the new folder NAME-onnx")
    arguments = parser.parse_args()
    formats = {
        ".pt": (write_checkpoint, "whisper"),
        ".bin": (write_ggml, "crispasr"),
        "onnx": (write_onnx, "sherpa-onnx"),
    }
    output: Path = arguments.output
    ending = next((ending for ending in formats if output.name.endswith(ending)), None)
    if ending is None:
        parser.error("the output has to end in .pt (openai-whisper), .bin (ggml) or onnx (a folder for sherpa-onnx)")
    if not output.absolute().parent.is_dir():
        parser.error(f"there is no folder {output.absolute().parent}")
    write, engine = formats[ending]
    try:
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=output.absolute().parent) as place:
            write(arguments.folder, Path(place) / output.name)
            (Path(place) / output.name).replace(output)
    except ImportError as error:
        needs = "pip install onnx 'voice-stack[whisper]'" if ending == "onnx" else "pip install 'voice-stack[whisper]'"
        print(f"not converted: {error.name} is not installed: {needs}", file=sys.stderr)
        return 1
    except (NotConverted, OSError, KeyError, ValueError) as error:
        print(f"not converted: {error}", file=sys.stderr)
        return 1
    path = shlex.quote(str(output.absolute()))
    print(f"written; transcribe with it: ASR_ENGINE={engine} ASR_MODEL={path} voice-stack serve asr")
    return 0


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # where scripts.whisper_onnx is
    sys.exit(main())
