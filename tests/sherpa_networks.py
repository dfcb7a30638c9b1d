"""Tiny networks that sherpa-onnx runs, written without the onnx package: what they write means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from utils.onnx_metadata import more_metadata
from utils.onnx_outputs import field

BLANK = "<blk>"
WORDS = ("\u2581one", "\u2581two", "\u2581three", "\u2581four")
_ONE = np.array([1], np.int64)


def write_network(folder: Path) -> Path:
    """Write a CTC model for whole recordings, exported like a Zipformer's: every 40 ms some word or none."""
    tokens = (BLANK, *WORDS)
    graph = b"".join(
        [
            _node("Slice", "x zero most one four", "sliced"),
            _node("MatMul", "sliced weights", "scores"),
            _node("LogSoftmax", "scores", "log_probs"),
            _node("Add", "x_lens three", "more"),
            _node("Div", "more four", "log_probs_len"),
            field(2, b"tiny"),
            _tensor("weights", _weights(len(tokens))),
            *(_tensor(name, _ONE * size) for name, size in (("zero", 0), ("one", 1), ("three", 3), ("four", 4))),
            _tensor("most", _ONE * 1_000_000),
            _value(11, "x", 1, "N", "T", 80),
            _value(11, "x_lens", 7, "N"),
            _value(12, "log_probs", 1, "N", "U", len(tokens)),
            _value(12, "log_probs_len", 7, "N"),
        ]
    )
    return _written(folder, graph, tokens, {"model_type": "zipformer2_ctc", "version": "1", "comment": "tiny"})


def write_streaming_network(folder: Path) -> Path:
    """Write a CTC model for streams, exported like NeMo's: every 80 ms some word where it is loud, else none."""
    tokens = (*WORDS, BLANK)
    weights = _weights(len(tokens))
    weights[:, -1] = -0.01  # the features of silence are equal and far below zero
    caches = ("cache_last_channel", "cache_last_time", "cache_last_channel_len")
    kinds = {caches[0]: (1, "N", 1, 1, 1), caches[1]: (1, "N", 1, 1, 1), caches[2]: (7, "N")}
    graph = b"".join(
        [
            _node("Transpose", "audio_signal", "x", perm=(0, 2, 1)),
            _node("Slice", "x zero most one eight", "sliced"),
            _node("MatMul", "sliced weights", "scores"),
            _node("LogSoftmax", "scores", "logprobs"),
            _node("Div", "length eight", "encoded_lengths"),
            *(_node("Identity", name, f"{name}_next") for name in caches),
            field(2, b"tiny"),
            _tensor("weights", weights),
            *(_tensor(name, _ONE * size) for name, size in (("zero", 0), ("one", 1), ("eight", 8))),
            _tensor("most", _ONE * 1_000_000),
            _value(11, "audio_signal", 1, "N", 80, "T"),
            _value(11, "length", 7, "N"),
            *(_value(11, name, *shape) for name, shape in kinds.items()),
            _value(12, "logprobs", 1, "N", "U", len(tokens)),
            _value(12, "encoded_lengths", 7, "N"),
            *(_value(12, f"{name}_next", *shape) for name, shape in kinds.items()),
        ]
    )
    dims = {f"{name}_dim{number}": 1 for name in caches[:2] for number in (1, 2, 3)}
    sizes = {"window_size": 16, "chunk_shift": 16, "subsampling_factor": 8, "vocab_size": len(WORDS)}
    return _written(folder, graph, tokens, {"model_type": "EncDecCTCModelBPE", "normalize_type": "", **sizes, **dims})


def _weights(tokens: int) -> np.ndarray:
    weights = np.random.default_rng(0).normal(size=(80, tokens)).astype(np.float32)
    return weights - weights.mean(axis=0)  # loudness says nothing


def _written(folder: Path, graph: bytes, tokens: tuple[str, ...], facts: dict[str, object]) -> Path:
    model = _number(1, 8) + field(7, graph) + field(8, _number(2, 13)) + more_metadata(facts)
    (folder / "model.onnx").write_bytes(model)
    lines = [f"{token} {at}\n" for at, token in enumerate(tokens)]
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def _number(key: int, value: int) -> bytes:
    assert value < 128
    tag = key << 3
    return bytes([tag, value] if tag < 128 else [tag & 127 | 128, tag >> 7, value])


def _tensor(name: str, values: np.ndarray) -> bytes:
    kind = {"float32": 1, "int64": 7}[values.dtype.name]
    dims = b"".join(_number(1, size) for size in values.shape)
    return field(5, dims + _number(2, kind) + field(8, name.encode()) + field(9, values.tobytes()))


def _value(key: int, name: str, kind: int, *shape: int | str) -> bytes:
    dims = (field(1, _number(1, size) if isinstance(size, int) else field(2, size.encode())) for size in shape)
    described = field(1, _number(1, kind) + field(2, b"".join(dims)))
    return field(key, field(1, name.encode()) + field(2, described))


def _node(op: str, inputs: str, output: str, *, perm: tuple[int, ...] = ()) -> bytes:
    given = b"".join(field(1, name.encode()) for name in inputs.split())
    order = b"".join(_number(8, axis) for axis in perm)
    attribute = field(5, field(1, b"perm") + order + _number(20, 7)) if perm else b""
    return field(1, given + field(2, output.encode()) + field(4, op.encode()) + attribute)
