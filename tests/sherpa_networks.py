"""Tiny networks that sherpa-onnx runs, written without the onnx package: what they write means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.onnx_files import model, node, tensor, value
from utils.onnx_metadata import more_metadata

BLANK = "<blk>"
WORDS = ("\u2581one", "\u2581two", "\u2581three", "\u2581four")
CHARACTERS = tuple("\u4e00\u4e8c\u4e09\u56db\u4e94\u516d")
_ONE = np.array([1], np.int64)


def write_network(folder: Path) -> Path:
    """Write a CTC model for whole recordings, exported like a Zipformer's: every 40 ms some word or none."""
    tokens = (BLANK, *WORDS)
    graph = [
        node("Slice", "x zero most one four", "sliced"),
        node("MatMul", "sliced weights", "scores"),
        node("LogSoftmax", "scores", "log_probs"),
        node("Add", "x_lens three", "more"),
        node("Div", "more four", "log_probs_len"),
        tensor("weights", _weights(len(tokens))),
        *(tensor(name, _ONE * size) for name, size in (("zero", 0), ("one", 1), ("three", 3), ("four", 4))),
        tensor("most", _ONE * 1_000_000),
        value(11, "x", 1, "N", "T", 80),
        value(11, "x_lens", 7, "N"),
        value(12, "log_probs", 1, "N", "U", len(tokens)),
        value(12, "log_probs_len", 7, "N"),
    ]
    return _written(folder, graph, tokens, {"model_type": "zipformer2_ctc", "version": "1", "comment": "tiny"})


def write_streaming_network(folder: Path) -> Path:
    """Write a CTC model for streams, exported like NeMo's: every 80 ms some word where it is loud, else none."""
    tokens = (*WORDS, BLANK)
    weights = _weights(len(tokens))
    weights[:, -1] = -0.01  # the features of silence are equal and far below zero
    caches = ("cache_last_channel", "cache_last_time", "cache_last_channel_len")
    kinds = {caches[0]: (1, "N", 1, 1, 1), caches[1]: (1, "N", 1, 1, 1), caches[2]: (7, "N")}
    graph = [
        node("Transpose", "audio_signal", "x", perm=(0, 2, 1)),
        node("Slice", "x zero most one eight", "sliced"),
        node("MatMul", "sliced weights", "scores"),
        node("LogSoftmax", "scores", "logprobs"),
        node("Div", "length eight", "encoded_lengths"),
        *(node("Identity", name, f"{name}_next") for name in caches),
        tensor("weights", weights),
        *(tensor(name, _ONE * size) for name, size in (("zero", 0), ("one", 1), ("eight", 8))),
        tensor("most", _ONE * 1_000_000),
        value(11, "audio_signal", 1, "N", 80, "T"),
        value(11, "length", 7, "N"),
        *(value(11, name, *shape) for name, shape in kinds.items()),
        value(12, "logprobs", 1, "N", "U", len(tokens)),
        value(12, "encoded_lengths", 7, "N"),
        *(value(12, f"{name}_next", *shape) for name, shape in kinds.items()),
    ]
    dims = {f"{name}_dim{number}": 1 for name in caches[:2] for number in (1, 2, 3)}
    sizes = {"window_size": 16, "chunk_shift": 16, "subsampling_factor": 8, "vocab_size": len(WORDS)}
    return _written(folder, graph, tokens, {"model_type": "EncDecCTCModelBPE", "normalize_type": "", **sizes, **dims})


def write_transducer(folder: Path) -> Path:
    """Write a transducer for whole recordings, whose tokens are characters: every 40 ms some character or none."""
    tokens = (BLANK, "<unk>", *CHARACTERS)
    size = len(tokens)
    sizes = (("zero", 0), ("one", 1), ("three", 3), ("four", 4), ("most", 1_000_000))
    encoder = model(
        node("Slice", "x zero most one four", "sliced"),
        node("MatMul", "sliced weights", "encoder_out"),
        node("Add", "x_lens three", "more"),
        node("Div", "more four", "encoder_out_lens"),
        tensor("weights", _weights(size) / 100),  # hardly sure of anything
        *(tensor(name, _ONE * number) for name, number in sizes),
        value(11, "x", 1, "N", "T", 80),
        value(11, "x_lens", 7, "N"),
        value(12, "encoder_out", 1, "N", "U", size),
        value(12, "encoder_out_lens", 7, "N"),
    )
    decoder = model(
        node("Cast", "y", "numbers", to=1),
        node("MatMul", "numbers weights", "decoder_out"),
        tensor("weights", np.zeros((2, size), np.float32)),
        value(11, "y", 7, "N", 2),
        value(12, "decoder_out", 1, "N", size),
    )
    joiner = model(
        node("Add", "encoder_out decoder_out", "logit"),
        *(value(11, name, 1, "N", size) for name in ("encoder_out", "decoder_out")),
        value(12, "logit", 1, "N", size),
    )
    (folder / "encoder.onnx").write_bytes(encoder)
    (folder / "decoder.onnx").write_bytes(decoder + more_metadata({"vocab_size": size, "context_size": 2}))
    (folder / "joiner.onnx").write_bytes(joiner + more_metadata({"joiner_dim": size}))
    _write_tokens(folder, tokens)
    return folder


def _weights(tokens: int) -> np.ndarray:
    weights = np.random.default_rng(0).normal(size=(80, tokens)).astype(np.float32)
    return weights - weights.mean(axis=0)  # loudness says nothing


def _written(folder: Path, graph: list[bytes], tokens: tuple[str, ...], facts: dict[str, object]) -> Path:
    (folder / "model.onnx").write_bytes(model(*graph) + more_metadata(facts))
    _write_tokens(folder, tokens)
    return folder


def _write_tokens(folder: Path, tokens: tuple[str, ...]) -> None:
    lines = [f"{token} {at}\n" for at, token in enumerate(tokens)]
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")
