"""The options of the faster-whisper engine, and what of them and of a request one `generate` call is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from asr.transcript import TranscribeOptions
from core.engines import EngineOptions


def _off(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("off", "none") else value


class FasterWhisperOptions(EngineOptions):
    """Options of the faster-whisper engine; the defaults are Whisper's, but a window does not see the text before."""

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
    multilingual: bool = Field(
        default=False, description="Whether the language is detected anew in every window, where none was given."
    )
    beam_size: int = Field(default=5, ge=1, le=32, description="Hypotheses kept at temperature 0.")
    best_of: int = Field(default=5, ge=1, le=32, description="Samples drawn at a temperature above 0.")
    patience: float = Field(default=1.0, gt=0, description="How many finished beams are waited for, in beam sizes.")
    length_penalty: float = Field(default=1.0, description="Exponent of the length a beam's score is divided by.")
    repetition_penalty: float = Field(
        default=1.0, gt=0, description="Above 1 makes tokens already written less likely."
    )
    no_repeat_ngram_size: int = Field(default=0, ge=0, description="Length of token sequences not to repeat; 0: any.")
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
        default=1.0, ge=0, le=30, description="Latest start of the first text in a window, in seconds."
    )


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the windows of one request are decoded; windows in one call must agree in all of it."""

    beam_size: int
    best_of: int
    temperatures: tuple[float, ...]
    timestamps: bool
    words: bool
    logprobs: bool

    @property
    def aligned(self) -> bool:
        """Whether the text is aligned with the audio, out of which both words and log-probabilities come."""
        return self.words or self.logprobs


def decoding(own: FasterWhisperOptions, request: TranscribeOptions) -> Decoding:
    """Return how a request is decoded, the engine's options filling what it leaves open."""
    return Decoding(
        beam_size=request.beam_size or own.beam_size,
        best_of=request.best_of or own.best_of,
        temperatures=request.temperature or (0.0,),
        timestamps=request.timestamps or request.word_timestamps,
        words=request.word_timestamps,
        logprobs=request.logprobs,
    )
