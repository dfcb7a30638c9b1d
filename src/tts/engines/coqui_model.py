"""What the Coqui families have in common: the interface the engine drives, and the seam for the library's errors."""

from __future__ import annotations

import contextlib
import logging
import pickle
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from core.engines import EngineOptions
from core.errors import (
    ConfigurationError,
    DeviceOutOfMemory,
    InsufficientMemory,
    InternalError,
    InvalidAudio,
    ModelBroken,
    NotSupported,
    UnsupportedParameter,
    VoiceStackError,
)
from tts.engines.coqui_files import ids_of, primary
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

log = logging.getLogger(__name__)


class CoquiOptions(EngineOptions):
    """Options of the Coqui engine; unset means what the model's config.json says."""

    temperature: float | None = Field(default=None, ge=0, le=2, description="XTTS, Tortoise: randomness; 0 is greedy.")
    top_k: int | None = Field(default=None, ge=1, description="XTTS: candidates per step.")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="XTTS, Tortoise: probability mass of the candidates."
    )
    repetition_penalty: float | None = Field(default=None, ge=1, description="XTTS, Tortoise: 1 means none.")
    stream_chunk_size: int | None = Field(
        default=None, ge=1, description="XTTS: audio tokens per chunk; 20 are 0.93 seconds."
    )
    noise_scale: float | None = Field(default=None, ge=0, description="VITS: variation of the voice.")
    duration_noise_scale: float | None = Field(default=None, ge=0, description="VITS: variation of the rhythm.")

    preset: Literal["ultra_fast", "fast", "standard", "high_quality"] | None = Field(
        default=None, description="Tortoise: how much work it does; unset is ultra_fast."
    )
    converter: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of an OpenVoice converter, with which models that cannot clone speak with recorded voices; "
        "a relative path begins in the model's folder.",
    )

    def refuse_all_but(self, *allowed: str) -> None:
        """Raise ConfigurationError for an option that is set and that this family cannot honour."""
        if extra := sorted(self.model_fields_set - {*allowed, "converter"}):
            raise ConfigurationError(f"this Coqui model has no option {', '.join(extra)}")


class CoquiModel(ABC):
    """A loaded model of one family. Its methods raise the library's errors; the engine translates them."""

    sample_rate: int
    speed_range: tuple[float, float] = (0.5, 2.0)
    can_clone: bool = False
    languages: Mapping[str, str]
    """Primary language subtag → the model's own spelling; empty when the model does not say."""

    @abstractmethod
    def speaker_names(self) -> Sequence[str]:
        """Return the built-in speakers, as the model spells them."""

    def first_voice(self) -> Voice:
        """Return the built-in voice that is listed first."""
        return Voice(id=next(iter(ids_of(self.speaker_names()))), name="")

    @abstractmethod
    def speak(self, text: str, voice: Voice, options: SpeechOptions) -> Generator[Samples, None, None]:
        """Yield float32 samples of one piece of text."""

    @abstractmethod
    def try_out(self) -> Samples:
        """Return a moment of speech, to prove that the weights work."""

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Prepare a voice from a recording."""
        del voice, reference
        raise NotSupported(
            "this Coqui model cannot clone voices; XTTS models can, and others with the option converter"
        )

    def forget(self, voice: Voice) -> None:  # noqa: B027 - nothing to forget where nothing is cloned
        """Drop what `clone` prepared."""

    def language(self, wanted: str | None) -> str | None:
        """Return the model's spelling of a language; UnsupportedParameter for one it does not speak."""
        if wanted is None or not self.languages:
            return None
        if (found := self.languages.get(primary(wanted))) is None:
            known = ", ".join(self.languages)
            raise UnsupportedParameter(f"this model speaks {known}, not {wanted!r}", param="language")
        return found


def spelled(languages: Sequence[str]) -> dict[str, str]:
    """Return primary subtags and the model's spelling; of several regions the first counts."""
    found: dict[str, str] = {}
    for language in languages:
        found.setdefault(primary(language), language)
    return found


def is_speakable(text: str) -> bool:
    """Return whether there is a letter or digit: XTTS makes noises up for anything else, VITS fails."""
    return any(character.isalnum() for character in text)


def check_reference(reference: Audio, shortest: float) -> None:
    """Raise InvalidAudio for a recording to clone that is shorter than `shortest` seconds, or silent."""
    if reference.duration < shortest:
        raise InvalidAudio(f"a recording to clone must have at least {shortest} seconds", param="voice")
    if not (np.isfinite(reference.samples).all() and np.any(reference.samples)):
        raise InvalidAudio("a recording to clone must not be silent", param="voice")


def checked(samples: Samples) -> Samples:
    """Return samples within [-1, 1]; InternalError when the model produced NaN or infinity."""
    if not np.isfinite(samples).all():
        raise InternalError("the model produced values that are not numbers")
    return np.clip(samples, -1.0, 1.0)


@contextlib.contextmanager
def translated(doing: str, failure: type[VoiceStackError]) -> Iterator[None]:
    """Let only errors of core.errors out: `failure` is what an unknown one becomes, its traceback is logged."""
    try:
        yield
    except VoiceStackError:
        raise
    except Exception as error:
        raise _translate(error, doing, failure) from error


def _translate(error: Exception, doing: str, failure: type[VoiceStackError]) -> VoiceStackError:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        full = DeviceOutOfMemory if isinstance(error, torch.OutOfMemoryError) else InsufficientMemory
        return full("the device had no memory left for this request")
    if isinstance(error, pickle.UnpicklingError):
        log.error("refused a checkpoint: %s", str(error).partition("\n")[0])
        return ModelBroken("the checkpoint holds something else than weights; it was not loaded")
    if isinstance(error, ImportError):
        return NotSupported(f"a library this needs is not installed: {error}")
    log.error("%s failed", doing, exc_info=error)
    return failure(f"{doing} failed ({type(error).__name__}); see the log of the service")
