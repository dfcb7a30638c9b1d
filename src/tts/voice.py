"""What a TTS user picks: a voice; and how one request wants its text spoken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice of a model.

    `id` is what requests name, `language` its BCP-47 language (None: speaks any the model has),
    `type` "builtin" for a voice of the model, "cloned" for a recording in the voices folder;
    `sample` is that recording and `transcript` what is said in it.
    """

    id: str
    name: str
    language: str | None = None
    gender: Literal["female", "male"] | None = None
    model: str = ""
    type: Literal["builtin", "cloned"] = "builtin"
    sample: Path | None = None
    transcript: str | None = None
    created_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechOptions:
    """How one request wants its text spoken.

    `language` is a BCP-47 code, None lets the voice decide. `speed` is within the engine's `speed_range`.
    `seed` and `temperature` apply to engines that sample; others refuse them (UnsupportedParameter).
    """

    language: str | None = None
    speed: float = 1.0
    instructions: str | None = None
    seed: int | None = None
    temperature: float | None = None
