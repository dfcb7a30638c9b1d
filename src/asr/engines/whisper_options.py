"""The options of the whisper engine, and what of them and of a window one call of openai-whisper is told."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from asr.engines.faster_whisper_window import WhisperWork
from core.engines import EngineOptions


class WhisperOptions(EngineOptions):
    """Options of the whisper engine; the defaults are Whisper's, but a window does not see the text before."""

    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="The most windows in one call; by default 1 on a CPU and 8 on a GPU. They are encoded together, "
        "and decoded together where each has one hypothesis.",
    )
    multilingual: bool = Field(
        default=False, description="Whether the language is detected anew in every window, where none was given."
    )
    beam_size: int = Field(default=5, ge=1, le=32, description="Hypotheses kept at temperature 0; 1 is greedy.")
    best_of: int = Field(default=5, ge=1, le=32, description="Samples drawn at a temperature above 0.")
    patience: float = Field(default=1.0, gt=0, description="How many finished beams are waited for, in beam sizes.")
    length_penalty: float | None = Field(
        default=None, ge=0, le=1, description="Exponent of the length penalty; without one the mean of a text counts."
    )
    compression_ratio_threshold: float | None = Field(
        default=2.4, description="A text that compresses better than this is a loop: the next temperature is tried."
    )
    log_prob_threshold: float | None = Field(
        default=-1.0, description="Below this mean log-probability the next temperature is tried."
    )
    no_speech_threshold: float | None = Field(
        default=0.6, ge=0, le=1, description="Above this no-speech probability a text needs to be sure of itself."
    )
    no_speech_log_prob: float = Field(
        default=-0.6, description="How sure (mean log-probability) such a text has to be; Whisper itself asks for -1."
    )
    condition_on_previous_text: bool = Field(
        default=False,
        description="Whether a window sees the text before it: more consistent, but loops spread, and the windows of "
        "a file are decoded one after the other.",
    )
    prompt_reset_on_temperature: float = Field(
        default=0.5, description="Text from above this temperature is not shown to the next window."
    )
    carry_initial_prompt: bool = Field(
        default=False, description="Whether every window sees the request's prompt, and not only the first."
    )
    max_initial_timestamp: float = Field(
        default=1.0, gt=0, le=30, description="Latest start of the first text in a window, in seconds."
    )


def search(work: WhisperWork, own: WhisperOptions) -> dict[str, Any]:
    """Return how a window is searched for its text, as fields of openai-whisper's DecodingOptions."""
    how = work.decoding
    if work.temperature > 0:
        found: dict[str, Any] = {"best_of": how.best_of}
    elif how.beam_size > 1:
        # For fewer than one finished beam the library fails.
        found = {"beam_size": how.beam_size, "patience": max(own.patience, 1 / how.beam_size)}
    else:
        found = {}
    return {**found, "temperature": work.temperature, "length_penalty": own.length_penalty}
