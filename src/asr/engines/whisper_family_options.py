"""The options that the engines of Whisper models share, and what of them and of a request decides how it is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from asr.transcript import TranscribeOptions
from core.engines import EngineOptions


class WhisperFamilyOptions(EngineOptions):
    """Options of every Whisper engine; the defaults are Whisper's, but a window does not see the text before it."""

    multilingual: bool = Field(
        default=False, description="Whether the language is detected anew in every window, where none was given."
    )
    beam_size: int = Field(default=5, ge=1, le=32, description="Hypotheses kept at temperature 0; 1 is greedy.")
    best_of: int = Field(default=5, ge=1, le=32, description="Samples drawn at a temperature above 0.")
    patience: float = Field(default=1.0, gt=0, description="How many finished beams are waited for, in beam sizes.")
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


def decoding(own: WhisperFamilyOptions, request: TranscribeOptions) -> Decoding:
    """Return how a request is decoded, the engine's options filling what it leaves open."""
    return Decoding(
        beam_size=request.beam_size or own.beam_size,
        best_of=request.best_of or own.best_of,
        temperatures=request.temperature or (0.0,),
        timestamps=request.timestamps or request.word_timestamps,
        words=request.word_timestamps,
        logprobs=request.logprobs,
    )
