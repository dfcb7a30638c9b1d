"""Speech synthesis through CrispASR: any GGUF model of its architectures that speak, with voices of recordings."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from core import gguf
from core.crispasr import CrispasrOptions, Opened, companion, foreign_errors, model_file, open_session
from core.engines import EngineContext
from core.errors import (
    ConfigurationError,
    InternalError,
    InvalidAudio,
    ModelBroken,
    UnsupportedParameter,
    VoiceNotFound,
    VoiceStackError,
)
from tts.engine import TtsEngine
from tts.engines.crispasr_text import harmless, load_espeak
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

DEFAULT_VOICE = "default"
"""The voice of a model that names none."""
_NOBODY = ("cloned", "")
"""A voice that the session may still have but nobody asks for."""


class CrispasrTtsOptions(CrispasrOptions):
    """Options of the crispasr engine for speech synthesis."""

    speaker: str | None = Field(
        default=None, description="The speaker of the model that its default voice is: a name, or a number from 0."
    )
    voice: Path | None = Field(
        default=None, description="What the default voice is of: a voice pack (GGUF) or a recording (WAV)."
    )
    voice_text: str | None = Field(default=None, description="What is said in the recording that `voice` names.")
    language: str | None = Field(default=None, description="The one language that the model speaks.")

    @model_validator(mode="after")
    def _one_voice(self) -> CrispasrTtsOptions:
        if self.speaker and self.voice:
            raise ValueError("give a speaker or a voice, not both")
        if self.voice_text and not self.voice:
            raise ValueError("voice_text is what is said in a voice, which is missing")
        return self


class CrispasrTtsEngine(TtsEngine):
    """One session of the library; a piece of text is one call into it, which only the end of its process stops.

    The library puts an inaudible mark into everything it says. A model that has no names of speakers has one voice,
    `default`: its own, or what the options say. Recordings are voices where the architecture clones.
    """

    Options = CrispasrTtsOptions
    options: CrispasrTtsOptions
    requires = ("crispasr", "espeakng_loader")
    extra = "crispasr"
    first_chars = 48

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._opened: Opened | None = None
        self._lock = threading.Lock()
        self._ready = False
        self._language: str | None = None
        self._speakers: tuple[str, ...] = ()
        self._references: dict[str, tuple[Audio, str | None]] = {}
        self._speaking: tuple[str, str] | None = None
        """Type and id of the voice that the session has, None before the first."""

    def load(self) -> None:
        """Open the model and say a few numbers; ConfigurationError (and ModelBroken) says what is wrong."""
        load_espeak()
        self._open()
        opened = self._loaded()
        session = opened.session
        if opened.verbs and "tts" not in opened.verbs:  # of one that is not listed, the first words tell
            raise ConfigurationError(f"{self._name} ({opened.backend}) does not speak; it is for the ASR service")
        self._language = self.options.language or _language_of(opened.path)
        self.languages = (self._language,) if self._language else ()
        self._speakers = tuple(dict.fromkeys(name for name in session.speakers() if name))
        chosen = self.options.speaker
        if chosen and self._speakers and not chosen.isdigit() and chosen not in self._speakers:
            raise ConfigurationError(f"option 'speaker': {self._name} has {', '.join(self._speakers)}")
        # Variants of one architecture differ: some have speakers, some take a description, some a recording.
        preset = session.is_custom_voice() or session.is_voice_design()
        self.can_clone = "voice-cloning" in opened.verbs and not preset
        with foreign_errors(f"speak with {self._name}", ConfigurationError):
            self.sample_rate = int(session.output_sample_rate()) or self.sample_rate
            self._use(self.voices()[0])
            samples = _usable(session.synthesize("1 2 3."))
        if not np.abs(samples).max(initial=0.0) > 0:
            raise ModelBroken("the model loads but does not speak")
        self._ready = True

    def close(self) -> None:
        """Close the session; the recordings are forgotten too."""
        with self._lock:
            if self._opened is not None:
                self._opened.session.close()
            self._opened = self._speaking = None
            self._ready = False
            self._references.clear()

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the default voice: what speakers a model has is known when it is loaded."""
        try:
            language = _language_of(model_file(EngineContext(model=model), CrispasrOptions()))
        except VoiceStackError:
            language = None
        return (Voice(id=DEFAULT_VOICE, name=DEFAULT_VOICE, language=language),)

    def voices(self) -> Sequence[Voice]:
        """Return the default voice, or one for each speaker of the loaded model, that of the options first."""
        chosen = self.options.speaker
        names = sorted(self._speakers, key=lambda name: name != chosen) or [DEFAULT_VOICE]
        return [Voice(id=name, name=name, language=self._language) for name in names]

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Speak one piece as one chunk. Raises VoiceNotFound, UnsupportedParameter, InvalidAudio."""
        for name in ("instructions", "seed", "temperature"):
            if getattr(options, name) is not None:
                raise UnsupportedParameter(f"crispasr is not told a {name} here", param=name)
        language = (options.language or "").partition("-")[0]
        if language and self.languages and language not in self.languages:
            raise UnsupportedParameter(f"this model speaks {', '.join(self.languages)} only", param="language")
        if not any(map(str.isalnum, text)):
            return
        with self._lock:
            if not self._ready:
                raise InternalError("the model is not loaded")
            self._use(voice)
            opened = self._loaded()
            with foreign_errors("speak this text", InternalError):
                if "src-tgt-language" in opened.verbs:
                    opened.session.set_target_language(language)
                samples = _usable(opened.session.synthesize(harmless(text)))
        yield Audio(samples, self.sample_rate)

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Keep a recording and its transcript; the session gets it when it speaks with it."""
        if not self.can_clone:
            super().clone(voice, reference)
        with self._lock:
            self._references[voice.id] = (reference, voice.transcript)
            if self._speaking == ("cloned", voice.id):
                self._speaking = _NOBODY

    def forget(self, voice: Voice) -> None:
        """Drop a recording; a session that speaks with it is opened anew for the next voice."""
        with self._lock:
            self._references.pop(voice.id, None)

    @property
    def _name(self) -> str:
        return self.context.model_id or "the model"

    def _loaded(self) -> Opened:
        if self._opened is None:
            raise InternalError("the model is not loaded")
        return self._opened

    def _open(self) -> None:
        self._opened, self._speaking = open_session(self.context, self.options), None

    def _use(self, voice: Voice) -> None:
        """Give the session a voice, unless it has it. A session does not find back from a recording to its own."""
        known = self._references.get(voice.id) if voice.type == "cloned" else None
        if known is None and (voice.type == "cloned" or voice.id not in {each.id for each in self.voices()}):
            raise VoiceNotFound("this model has no such voice", param="voice")
        wanted = (voice.type, voice.id)
        if self._speaking == wanted:
            return
        if voice.type == "builtin" and self._speaking and self._speaking[0] == "cloned":
            opened, self._opened, self._speaking = self._loaded(), None, None
            opened.session.close()
        if self._opened is None:
            self._open()
        session = self._loaded().session
        self._speaking = _NOBODY  # until all of it has worked
        if known is None:
            self._use_own(session, voice.id)
        else:
            reference, transcript = known
            with foreign_errors("clone this recording, or needs its transcript", InvalidAudio, param="voice"):
                session.set_voice_samples(reference.samples, reference.sample_rate, transcript)
        self._speaking = wanted

    def _use_own(self, session: Any, name: str) -> None:
        with foreign_errors(f"use the voice {name}", ConfigurationError, self._loaded().path.parent):
            if name in self._speakers:
                session.set_speaker_name(name)
            elif self.options.speaker and self.options.speaker.isdigit():
                session.set_speaker_id(int(self.options.speaker))
            elif self.options.speaker:
                session.set_speaker_name(self.options.speaker)
            elif voice := companion(self._loaded().path, self.options.voice, "voice"):
                session.set_voice(str(voice), self.options.voice_text)


def _language_of(path: Path) -> str | None:
    """Return the language of a Piper voice; files of other architectures name none."""
    found = gguf.piper_voice(path)
    return found[0] if found else None


def _usable(samples: Any) -> Samples:
    """Return samples as float32 within [-1, 1]; InternalError for what are no numbers."""
    found = np.asarray(samples, dtype=np.float32)
    if not np.isfinite(found).all():
        raise InternalError("the model made samples that are not numbers")
    return np.clip(found, -1.0, 1.0)
