"""Write an installed Piper voice as a GGUF file that the crispasr engine opens.

Needs a Python with numpy, as the base install of voice-stack has; speaking with the file needs the extra `crispasr`.

    .venv/bin/python scripts/voice_gguf.py "$(voice-stack models path piper-en_US-joe-medium)" DESTINATION.gguf

The weights are those of the ONNX file, in 16 bits where CrispASR keeps them so, under the names that they have in VITS.
"""

from __future__ import annotations

import argparse
import json
import shlex
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer, and those of TensorProto.
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9
_FLOAT = 1
_ALIGNMENT = 32
_F32, _F16 = 0, 1
_UINT32, _FLOAT32, _STRING = 4, 6, 8
_FLOWS = (6, 4, 2, 0)  # VITS runs them backwards, so that is the order of their nameless weights


def convert(source: Path, destination: Path, *, noise_w: float | None = None) -> None:
    """Convert the voice in a folder. Raises ValueError for a folder or a network that is not Piper's.

    `noise_w` is how random its rhythm is, by default as the voice's configuration says.
    """
    config_file = next((path for path in sorted(source.glob("*.onnx.json")) if path.with_suffix("").is_file()), None)
    if config_file is None:
        raise ValueError("the folder holds no NAME.onnx with its NAME.onnx.json")
    config = json.loads(config_file.read_text(encoding="utf-8"))
    tensors = named(dict(initializers(memoryview(config_file.with_suffix("").read_bytes()))))
    header = facts(config, tensors)
    if noise_w is not None:
        header["piper.noise_w"] = noise_w
    write(destination, header, tensors)


def named(found: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights under VITS's names, without the constants of the graph."""
    tensors = {name: array for name, array in found.items() if not name.startswith(("/", "onnx::")) and "." in name}
    if "sid" in found:  # the table of symbols has the name of an input in some exports
        tensors["enc_p.emb.weight"] = found["sid"]
    nameless = sorted((name for name in found if name.startswith("onnx::Conv_")), key=lambda name: int(name[11:]))
    layers = len(nameless) // (2 * len(_FLOWS))
    for number, name in enumerate(nameless):
        flow, rest = divmod(number, 2 * layers)
        kind = ("in_layers", "res_skip_layers")[rest % 2]
        tensors[f"flow.flows.{_FLOWS[flow]}.enc.{kind}.{rest // 2}.weight"] = found[name]
    if (scales := found.get("/dp/flows.0/Exp_output_0")) is not None:
        tensors["dp.flows.0.logs"] = -np.log(scales)
    if not {"enc_p.emb.weight", "enc_p.proj.weight", "dec.conv_pre.weight", "dp.flows.0.logs"} <= tensors.keys():
        raise ValueError("the network is not a Piper voice, or one of an unknown export")
    return tensors


def facts(config: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[str, int | float | str]:
    """Return what the header says: the sizes, which the shapes of the weights tell, and how the voice speaks."""

    def count(name: str, numbers: range) -> int:
        return sum(name.format(number) in tensors for number in numbers)

    hidden = tensors["enc_p.emb.weight"].shape[1]
    head = tensors["enc_p.encoder.attn_layers.0.emb_rel_k"].shape[2]
    ups = [tensors[f"dec.ups.{number}.weight"] for number in range(count("dec.ups.{}.weight", range(9)))]
    kernels = dict.fromkeys(
        tensors[name].shape[2] for n in range(99) if (name := f"dec.resblocks.{n}.convs.0.weight") in tensors
    )
    inference = config.get("inference", {})
    return {
        "general.architecture": "piper",
        "piper.hidden_channels": hidden,
        "piper.inter_channels": tensors["enc_p.proj.weight"].shape[0] // 2,
        "piper.filter_channels": tensors["enc_p.encoder.ffn_layers.0.conv_1.weight"].shape[0],
        "piper.n_heads": hidden // head,
        "piper.head_dim": head,
        "piper.n_layers_enc": count("enc_p.encoder.attn_layers.{}.conv_q.weight", range(99)),
        "piper.n_flow_blocks": count("flow.flows.{}.pre.weight", range(0, 99, 2)),
        "piper.n_wn_layers": count("flow.flows.0.enc.in_layers.{}.weight", range(99)),
        "piper.wn_kernel_size": tensors["flow.flows.0.enc.in_layers.0.weight"].shape[2],
        "piper.n_upsample_stages": len(ups),
        "piper.upsample_initial_channel": tensors["dec.conv_pre.weight"].shape[0],
        "piper.num_symbols": int(config.get("num_symbols", 256)),
        "piper.num_speakers": int(config.get("num_speakers", 1)),
        "piper.sample_rate": int(config["audio"]["sample_rate"]),
        "piper.n_sdp_flows": count("dp.flows.{}.pre.weight", range(3, 99, 2)),
        "piper.sdp_num_bins": (tensors["dp.flows.3.proj.weight"].shape[0] + 1) // 3,
        "piper.n_sdp_dds_layers": count("dp.flows.3.convs.convs_sep.{}.weight", range(99)),
        "piper.n_sdp_main_dds_layers": count("dp.convs.convs_sep.{}.weight", range(99)),
        "piper.noise_scale": float(inference.get("noise_scale", 0.667)),
        "piper.length_scale": float(inference.get("length_scale", 1.0)),
        "piper.noise_w": float(inference.get("noise_w", 0.8)),
        "piper.espeak_voice": str(config["espeak"]["voice"]),
        **{f"piper.upsample_rate.{number}": weight.shape[2] // 2 for number, weight in enumerate(ups)},
        **{f"piper.upsample_kernel.{number}": weight.shape[2] for number, weight in enumerate(ups)},
        **{f"piper.resblock_kernel.{number}": kernel for number, kernel in enumerate(kernels)},
        "piper.phoneme_id_map": json.dumps(config["phoneme_id_map"], ensure_ascii=False),
    }


def write(path: Path, header: Mapping[str, int | float | str], tensors: Mapping[str, Array]) -> None:
    """Write a GGUF file: vectors in 32 bits, everything else in 16."""
    ready = {name: array.astype("<f4" if array.ndim <= 1 else "<f2") for name, array in tensors.items()}
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(ready), len(header)))
        for key, given in header.items():
            file.write(_text(key) + _value(given))
        place = 0
        for name, array in ready.items():
            kind = _F32 if array.dtype == np.float32 else _F16
            shape = array.shape[::-1]
            file.write(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, place))
            place += _aligned(array.nbytes)
        file.write(bytes(_aligned(file.tell()) - file.tell()))
        for array in ready.values():
            file.write(array.tobytes() + bytes(_aligned(array.nbytes) - array.nbytes))


def _value(given: int | float | str) -> bytes:
    if isinstance(given, str):
        return struct.pack("<I", _STRING) + _text(given)
    if isinstance(given, float):
        return struct.pack("<If", _FLOAT32, given)
    return struct.pack("<II", _UINT32, given)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def initializers(model: memoryview) -> Iterator[tuple[str, Array]]:
    """Yield the float weights of an ONNX file with their names."""
    for field, graph in _fields(model):
        for part, tensor in _fields(graph) if field == _GRAPH else ():
            if part == _INITIALIZER and (found := _tensor(tensor)):
                yield found


def _tensor(message: memoryview) -> tuple[str, Array] | None:
    given = list(_fields(message))
    only = dict(given)
    if only.get(_TYPE) != _FLOAT:
        return None
    shape = [value for key, value in given if key == _DIMS]
    data = only.get(_RAW, only.get(_FLOATS, b""))
    return bytes(only[_NAME]).decode(), np.frombuffer(data, "<f4").reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message, numbers as numbers."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the bit that says that more follow
                return value
            shift += 7

    while place < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        yield number, message[place : place + size]
        place += size


def main() -> int:
    """Convert what the command line says; the exit status is 1 for what is no such voice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder of the voice, as `voice-stack models path ID` tells it")
    parser.add_argument("destination", type=Path, help="the file to write, NAME.gguf")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.destination)
    except (ValueError, KeyError, OSError) as error:
        print(f"not converted: {error}", file=sys.stderr)
        return 1
    path = shlex.quote(str(arguments.destination.absolute()))
    print(f"written; speak with it: TTS_ENGINE=crispasr TTS_MODEL={path} voice-stack serve tts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
