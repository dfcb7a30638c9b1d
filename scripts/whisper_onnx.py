"""Whisper as two networks in ONNX, the way sherpa-onnx reads it: what scripts/convert_whisper.py writes with torch."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.onnx_metadata import more_metadata

_OPSET = 17
_CACHES = ("in_n_layer_self_k_cache", "in_n_layer_self_v_cache")
_CROSS = ("n_layer_cross_k", "n_layer_cross_v")


class Encoder(nn.Module):
    """From a spectrogram, shape (1, mels, up to 3000 frames), to the keys and values that the decoder attends to."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.blocks = model.encoder, model.decoder.blocks

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of all layers of the decoder, each of shape (layers, 1, frames / 2, size)."""
        encoder = self.encoder
        x = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel)))).transpose(1, 2)
        x = x + encoder.positional_embedding[: x.shape[1]]
        for block in encoder.blocks:
            normal = block.attn_ln(x)
            x = x + _attend(block.attn, normal, block.attn.key(normal), block.attn.value(normal))
            x = x + block.mlp(block.mlp_ln(x))
        heard = encoder.ln_post(x)
        keys = [block.cross_attn.key(heard) for block in self.blocks]
        values = [block.cross_attn.value(heard) for block in self.blocks]
        return torch.stack(keys), torch.stack(values)


class Decoder(nn.Module):
    """From the next tokens to their logits; the keys and values of those before are in caches of full length."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.register_buffer("mask", torch.full((model.dims.n_text_ctx,) * 2, -torch.inf).triu(1))

    def forward(self, tokens: Tensor, *state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, shape (1, tokens, vocabulary), and the caches, shape (layers, 1, positions, size).

        `state` are the caches of keys and values, those of the encoder, and, shape (1), how many tokens came before.
        """
        keys, values, cross_keys, cross_values, offset = state
        start = offset[0]
        end = start + tokens.shape[1]
        x = self.decoder.token_embedding(tokens) + self.decoder.positional_embedding[start:end]
        mask = self.mask[start:end, :end]
        new_keys, new_values = [], []
        for layer, block in enumerate(self.decoder.blocks):
            normal = block.attn_ln(x)
            key = torch.cat([keys[layer, :, :start], block.attn.key(normal)], dim=1)
            value = torch.cat([values[layer, :, :start], block.attn.value(normal)], dim=1)
            x = x + _attend(block.attn, normal, key, value, mask)
            x = x + _attend(block.cross_attn, block.cross_attn_ln(x), cross_keys[layer], cross_values[layer])
            x = x + block.mlp(block.mlp_ln(x))
            new_keys.append(torch.cat([key, keys[layer, :, end:]], dim=1))
            new_values.append(torch.cat([value, values[layer, :, end:]], dim=1))
        # In this order the embedding is stored once and not transposed besides.
        logits = (self.decoder.token_embedding.weight @ self.decoder.ln(x).transpose(1, 2)).transpose(1, 2)
        return logits, torch.stack(new_keys), torch.stack(new_values)


def _attend(attention: Any, x: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    heads = attention.n_head
    q, k, v = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (attention.query(x), key, value))
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5)
    weights = (scores if mask is None else scores + mask).softmax(-1)
    return attention.out((weights @ v).transpose(1, 2).flatten(2))


@torch.inference_mode()
def write_networks(model: Any, tokenizer: Any, name: str, folder: Path) -> None:
    """Write encoder.onnx, decoder.onnx and tokens.txt into a folder.

    `model` is openai-whisper's in float32 on the CPU, `tokenizer` its own; `name` is written into the metadata.
    """
    dims = model.dims
    mel = torch.zeros(1, dims.n_mels, 2 * dims.n_audio_ctx)
    encoder = Encoder(model).eval()
    path = folder / "encoder.onnx"
    _export(encoder, path, {"mel": mel}, _CROSS, {"mel": {0: "n_audio", 2: "T"}, **_axes(_CROSS)})
    with path.open("ab") as file:
        file.write(more_metadata(notes(model, tokenizer, name)))
    cache = torch.zeros(dims.n_text_layer, 1, dims.n_text_ctx, dims.n_text_state)
    inputs = {
        "tokens": torch.tensor([list(tokenizer.sot_sequence)]),
        **dict.fromkeys(_CACHES, cache),
        **dict(zip(_CROSS, encoder(mel), strict=True)),
        "offset": torch.zeros(1, dtype=torch.int64),
    }
    outputs = ("logits", "out_n_layer_self_k_cache", "out_n_layer_self_v_cache")
    axes = {"tokens": {0: "n_audio", 1: "n_tokens"}, **_axes(_CROSS), **{name: {1: "n_audio"} for name in _CACHES}}
    _export(Decoder(model).eval(), folder / "decoder.onnx", inputs, outputs, axes)
    with (folder / "tokens.txt").open("w", encoding="ascii") as file:
        for number in range(tokenizer.eot):
            token = base64.b64encode(tokenizer.encoding.decode_single_token_bytes(number)).decode()
            file.write(f"{token} {number}\n")


def _export(
    network: nn.Module,
    path: Path,
    inputs: Mapping[str, Tensor],
    outputs: Iterable[str],
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    torch.onnx.export(
        network,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes=axes,
        opset_version=_OPSET,
        dynamo=False,
    )


def _axes(names: Iterable[str]) -> dict[str, dict[int, str]]:
    return {name: {1: "n_audio", 2: "positions"} for name in names}


def notes(model: Any, tokenizer: Any, name: str) -> dict[str, object]:
    """Return what sherpa-onnx reads in the encoder's metadata."""
    listed = ("sot_sequence", "all_language_tokens", "all_language_codes", "non_speech_tokens")
    single = ("sot", "eot", "no_speech", "transcribe", "translate", "sot_prev", "sot_lm", "no_timestamps")
    return {
        "model_type": f"whisper-{name}",
        "version": 1,
        "maintainer": "voice-stack",
        **vars(model.dims),
        **{key: ",".join(map(str, getattr(tokenizer, key))) for key in listed},
        **{key: getattr(tokenizer, key) for key in single},
        "sot_index": tokenizer.sot_sequence.index(tokenizer.sot),
        "blank_id": tokenizer.encode(" ")[0],
        "is_multilingual": int(model.is_multilingual),
    }
