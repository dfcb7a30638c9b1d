"""The model families of sherpa-onnx, and the files and metadata that tell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["offline", "online", "tts"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A family by the files it is made of: networks by a part of their name, others by their name."""

    family: str
    kind: Kind
    networks: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()


_TOKENS = (("tokens", "tokens.txt"),)
PARAMETERS = {
    "preprocess": "preprocessor",
    "encode": "encoder",
    "uncached_decode": "uncached_decoder",
    "cached_decode": "cached_decoder",
    "encoder_model": "encoder",
    "decoder_model_merged": "decoder",
}
"""The library's parameters for networks that it calls otherwise than their files."""
SHAPES = (
    Shape(
        "supertonic",
        "tts",
        ("duration_predictor", "text_encoder", "vector_estimator", "vocoder"),
        (("tts_json", "tts.json"), ("unicode_indexer", "unicode_indexer.bin"), ("voice_style", "voice.bin")),
    ),
    Shape(
        "pocket",
        "tts",
        ("lm_flow", "lm_main", "encoder", "decoder", "text_conditioner"),
        (("vocab_json", "vocab.json"), ("token_scores_json", "token_scores.json")),
    ),
    Shape("funasr_nano", "offline", ("encoder_adaptor", "llm", "embedding"), (("tokenizer", "Qwen3-0.6B"),)),
    Shape("qwen3_asr", "offline", ("conv_frontend", "encoder", "decoder"), (("tokenizer", "tokenizer"),)),
    Shape("moonshine", "offline", ("preprocess", "encode", "uncached_decode", "cached_decode"), _TOKENS),
    Shape("moonshine_v2", "offline", ("encoder_model", "decoder_model_merged"), _TOKENS),
    Shape("transducer", "offline", ("encoder", "decoder", "joiner"), _TOKENS),
)
"""The first that fits counts: Pocket has an encoder and a decoder too."""
PAIRS: Mapping[str, tuple[str, Kind]] = {
    "whisper": ("whisper", "offline"),
    "EncDecMultiTaskModel": ("nemo_canary", "offline"),
    "fire-red-asr": ("fire_red_asr", "offline"),
    "cohere-transcribe": ("cohere_transcribe", "offline"),
    "paraformer": ("paraformer", "online"),
}
"""Families of an encoder and a decoder, by how the encoder's `model_type` begins."""
SINGLES: Mapping[str, tuple[str, str | None]] = {
    "sense_voice": ("sense_voice", None),
    "paraformer": ("paraformer", None),
    "EncDecCTC": ("nemo_ctc", "nemo_ctc"),
    "EncDecHybridRNNTCTC": ("nemo_ctc", "nemo_ctc"),
    "zipformer2_ctc": ("zipformer_ctc", "zipformer2_ctc"),
    "wenet_ctc": ("wenet_ctc", "wenet_ctc"),
    "telespeech_ctc": ("telespeech_ctc", None),
    "tdnn": ("tdnn_ctc", None),
    "dolphin": ("dolphin_ctc", None),
    "omnilingual": ("omnilingual_asr_ctc", None),
    "medasr": ("medasr_ctc", None),
    "fire-red-asr-2-ctc": ("fire_red_asr_ctc", None),
    "t-one": ("t_one_ctc", "t_one_ctc"),
}
"""Families of one network by how its `model_type` begins: as it is for whole recordings, and for streams."""
