"""What a TTS user picks: a voice; how one request wants its text spoken; and speech with the times of its words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.audio.pcm import Audio

MAX_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A voice's part in a mix: the shares of a mix add up to 1."""

    id: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice of a model.

    `id` is what requests name, `language` its BCP-47 language (None: speaks any the model has),
    `type` "builtin" for a voice of the model, "cloned" for a recording in the voices folder;
    `sample` is that recording and `transcript` what is said in it. `mix` names the builtin voices that it is made of,
    if any. A `one_shot` voice came with a request and must be forgotten after it.
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
    mix: tuple[Share, ...] = ()
    one_shot: bool = False


def quoted(name: str) -> str:
    """Return a name that somebody sent as messages show it: in quotes, at most MAX_SHOWN characters, no controls."""
    return repr(name if len(name) <= MAX_SHOWN else f"{name[: MAX_SHOWN - 1]}…")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechOptions:
    """How one request wants its text spoken.

    `language` is a BCP-47 code, None lets the voice decide. `speed` is within the engine's `speed_range`.
    `seed` and `temperature` apply to engines that sample; others refuse them (UnsupportedParameter).
    `timestamps` is asked only of engines that time words: their chunks are TimedAudio then.
    """

    language: str | None = None
    speed: float = 1.0
    instructions: str | None = None
    seed: int | None = None
    temperature: float | None = None
    timestamps: bool = False


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word as it is spoken, from `start` to `end` in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class TimedAudio(Audio):
    """A chunk of speech and the words that begin in it, in seconds from its first sample."""

    words: tuple[SpokenWord, ...] = ()
