"""The options of the sherpa-onnx engine, and what of them each model family is made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from core.engines import EngineOptions
from core.sherpa import SherpaModel, joined

_FRAMES = 4
"""Frames that the library takes a step of every CTC model of streams for."""
_PAUSES = {"rule1_min_trailing_silence": 2.4, "rule2_min_trailing_silence": 1.2}
"""Its own pauses, in seconds, that end a text: before anything was said, and behind it."""
_BPE = "bpe.vocab"


class SherpaOnnxOptions(EngineOptions):
    """Options of the sherpa-onnx engine. The family of a model is told by its files and the metadata in them."""

    family: str | None = Field(
        default=None, description="The family, where metadata tell none: `whisper`, `nemo_ctc`, `paraformer` and so on."
    )
    int8: bool = Field(default=True, description="Whether to take the 8-bit network of a folder that has two.")
    languages: str = Field(
        default="", description="Codes of the model's languages, commas between, where the model does not say."
    )
    decoding_method: Literal["greedy_search", "modified_beam_search"] = Field(
        default="greedy_search", description="Transducers only; hotwords need `modified_beam_search`."
    )
    max_active_paths: int = Field(default=4, ge=1, le=32, description="Hypotheses kept by `modified_beam_search`.")
    hotwords_score: float = Field(default=1.5, gt=0, le=20, description="How much a hotword is favoured.")
    modeling_unit: Literal["cjkchar", "bpe", "cjkchar+bpe"] = Field(
        default="bpe", description="What the model's tokens are, for hotwords; `bpe` needs bpe.vocab in the folder."
    )
    itn: bool = Field(default=True, description="Whether SenseVoice and Cohere write numbers as digits, and marks.")
    batch_size: int = Field(default=1, ge=1, le=64, description="The most windows decoded in one call.")


def stretch(model: SherpaModel) -> float:
    """Return what the library's times of a model have to be multiplied by."""
    if model.kind == "online" and model.family.endswith("_ctc"):
        return (model.fact("subsampling_factor") or _FRAMES) / _FRAMES
    return 1.0


def favours_words(model: SherpaModel, options: SherpaOnnxOptions, folder: Path) -> bool:
    """Return whether hotwords count: in transducers, where it is known how words are made of tokens."""
    spelled = options.modeling_unit == "cjkchar" or (folder / _BPE).is_file()
    return model.family == "transducer" and options.decoding_method == "modified_beam_search" and spelled


def arguments(model: SherpaModel, options: SherpaOnnxOptions, *, folder: Path, threads: int) -> dict[str, Any]:
    """Return what the library's `from_<family>` is called with."""
    found: dict[str, Any] = {name: str(path) for name, path in model.files.items()}
    found |= {"num_threads": threads, "provider": "cpu"}
    if model.family not in {"funasr_nano", "qwen3_asr", "fire_red_asr_ctc", "medasr_ctc", "omnilingual_asr_ctc"}:
        found |= {"rule_fsts": joined(folder, "*.fst")}
    if model.family == "transducer":
        found |= {
            "decoding_method": options.decoding_method,
            "max_active_paths": options.max_active_paths,
            "hotwords_score": options.hotwords_score,
        }
        if favours_words(model, options, folder):
            bpe = "bpe" in options.modeling_unit
            found |= {"modeling_unit": options.modeling_unit, "bpe_vocab": str(folder / _BPE) if bpe else ""}
    if model.family == "sense_voice":
        found |= {"use_itn": options.itn}
    if model.family == "cohere_transcribe":
        found |= {"use_itn": options.itn, "use_punct": options.itn}
    if model.kind == "online":
        pauses = {name: seconds / stretch(model) for name, seconds in _PAUSES.items()}
        return {**found, **pauses, "enable_endpoint_detection": True}
    if model.family == "transducer":
        nemo = model.facts.get("model_type", "").startswith("EncDec")
        found |= {"model_type": "nemo_transducer" if nemo else "transducer"}
    if model.family == "whisper":
        # Those of tokens need an export with attention; without, segments have Whisper's own.
        timed = model.fact("n_alignment_heads") > 0
        found |= {"language": "", "enable_token_timestamps": timed, "enable_segment_timestamps": True}
    return found
