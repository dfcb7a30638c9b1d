"""The options of the whisper engine, and what of them and of a window one call of openai-whisper is told."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from asr.engines.faster_whisper_window import WhisperWork
from asr.engines.whisper_family_options import WhisperFamilyOptions


class WhisperOptions(WhisperFamilyOptions):
    """Options of the whisper engine."""

    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="The most windows in one call; by default 1 on a CPU and 8 on a GPU. They are encoded together, "
        "and decoded together where each has one hypothesis.",
    )
    length_penalty: float | None = Field(
        default=None, ge=0, le=1, description="Exponent of the length penalty; without one the mean of a text counts."
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
