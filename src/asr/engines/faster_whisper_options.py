"""The options of the faster-whisper engine."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from asr.engines.whisper_family_options import WhisperFamilyOptions


def _off(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("off", "none") else value


class FasterWhisperOptions(WhisperFamilyOptions):
    """Options of the faster-whisper engine."""

    window_pad_seconds: Annotated[float | None, BeforeValidator(_off)] = Field(
        default=3.0,
        ge=2,
        le=30,
        description="Silence encoded behind the speech of a window; `off` fills every window up to 30 s, which on a "
        "CPU takes about three times as long.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="The most windows decoded in one call; by default 4 on a CPU, where they are at most 36 s long "
        "together, and 16 on a GPU.",
    )
    length_penalty: float = Field(default=1.0, description="Exponent of the length a beam's score is divided by.")
    repetition_penalty: float = Field(
        default=1.0, gt=0, description="Above 1 makes tokens already written less likely."
    )
    no_repeat_ngram_size: int = Field(default=0, ge=0, description="Length of token sequences not to repeat; 0: any.")
    max_initial_timestamp: float = Field(
        default=1.0, ge=0, le=30, description="Latest start of the first text in a window, in seconds."
    )
