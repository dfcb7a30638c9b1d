"""The TTS service without HTTP: models, voices, workers, and speech as it is synthesized; for the API and the CLI."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from pydantic import TypeAdapter

from core import errors
from core.model_entry import ModelRef
from core.process import Call, WorkerSpec
from core.service import Service
from tts import engine_factory
from tts.engine import TtsEngine
from tts.settings import TtsSettings
from tts.voice import SpeechOptions, Voice
from tts.voices import VoiceBook

log = logging.getLogger(__name__)
TASK: Final = "text-to-speech"
PCM_RATE = 24_000
_VOICES = TypeAdapter(list[Voice])


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What is to be said: a text, a voice of a model, and how.

    `response_format` is a name of utils.audio.encode, `sample_rate` the output rate in Hz, None the engine's.
    """

    text: str
    voice: Voice
    model: ModelRef
    options: SpeechOptions
    response_format: str = "mp3"
    sample_rate: int | None = None


@dataclass(frozen=True, slots=True)
class Speech:
    """Speech that is being made: PCM at `sample_rate` Hz that must be played `tempo` times as fast to be right."""

    call: Call
    events: AsyncIterator[Any]
    sample_rate: int
    tempo: float
    pieces: int
    language: str | None

    async def pcm(self) -> AsyncGenerator[bytes, None]:
        """Yield signed 16-bit little-endian mono samples, one item per chunk the engine made."""
        async for event in self.events:
            if event.name == "audio":
                yield event.body


class TtsService(Service):
    """Everything the TTS service does."""

    def __init__(self, settings: TtsSettings) -> None:
        self.settings = settings
        self._registry = engine_factory.registry()
        super().__init__(
            settings,
            name="tts",
            task=TASK,
            engine=settings.engine,
            model=settings.model,
            preload=settings.preload,
            registry=self._registry,
        )
        self._book = VoiceBook(settings.voice_dir, default=settings.default_voice)

    async def prepare(self, model: ModelRef) -> None:
        """Load a model whose voices nobody can tell before that, as those of XTTS."""
        if "voices" not in self.host.worker(model).facts and not self._builtin(model):
            await self.host.load(model)

    def voices(self, model: ModelRef) -> list[Voice]:
        """Return the voices of a model: its own, and the recordings in the voices folder where it can clone."""
        return self._book.voices(self._builtin(model), clones=self._can_clone(model))

    def find_voice(self, model: ModelRef, name: str | None, language: str | None) -> Voice:
        """Return the voice a request names, None meaning the default one; VoiceNotFound lists what there is."""
        return self._book.resolve(name, language, self._builtin(model), clones=self._can_clone(model))

    def _model_and_voice(self, model: ModelRef, name: str | None, language: str | None) -> tuple[ModelRef, Voice]:
        """Return the voice and its model; a voice the default model lacks brings the installed model that has it."""
        try:
            return model, self.find_voice(model, name, language)
        except errors.VoiceNotFound:
            if model.id == self.host.default().id:
                for other in self.host.installed():
                    for voice in self.voices(other):
                        if voice.id == name:
                            return other, voice
            raise

    def _builtin(self, model: ModelRef) -> list[Voice]:
        facts = self.host.worker(model).facts
        if "voices" in facts:
            return _VOICES.validate_python(facts["voices"])
        found = self._engine(model).list_voices(model.path) if model.path else ()
        return [replace(voice, model=model.id) for voice in found]

    def _can_clone(self, model: ModelRef) -> bool:
        return bool(self.host.worker(model).facts.get("can_clone", self._engine(model).can_clone))

    def _engine(self, model: ModelRef) -> type[TtsEngine]:
        return self._registry.get(model.engine or self.settings.engine)

    def utterance(
        self,
        text: str,
        model: ModelRef,
        voice: str | None,
        options: SpeechOptions,
        *,
        response_format: str,
        sample_rate: int | None = None,
    ) -> Utterance:
        """Return what a request wants said: its voice found, its output rate chosen. Raises VoiceNotFound."""
        model, found = self._model_and_voice(model, voice, options.language)
        return Utterance(
            text=text,
            voice=found,
            model=model,
            options=options,
            response_format=response_format,
            sample_rate=sample_rate or (PCM_RATE if response_format == "pcm" else self.settings.sample_rate),
        )

    @asynccontextmanager
    async def speak(self, utterance: Utterance) -> AsyncIterator[Speech]:
        """Start to synthesize; leaving the context ends it.

        Returns once the worker has accepted the text, before the first sound. Raises what the engine raised.
        """
        params = {
            "text": utterance.text,
            "voice": asdict(utterance.voice),
            "options": asdict(utterance.options),
            "speed": utterance.options.speed,
            "sample_rate": utterance.sample_rate,
        }
        async with self.host.call(utterance.model, "synthesize", params, timeout=self.settings.timeout) as call:
            events = aiter(call)
            try:
                start = (await anext(events)).data
            except StopAsyncIteration:
                raise errors.InternalError("the engine made no sound") from None
            yield Speech(call, events, start["sample_rate"], start["tempo"], start["pieces"], start["language"])

    def spec(self, model: ModelRef) -> WorkerSpec:
        """Return what the worker of a model runs."""
        settings = self.settings
        return WorkerSpec(
            name=model.id,
            handler="tts.worker:TtsWorker",
            config={
                "engine": model.engine or settings.engine,
                "model": str(model.path) if model.path else None,
                "model_id": model.id,
                "device": settings.device,
                "device_index": settings.device_index,
                "threads": settings.threads,
                "cache": str(settings.places.cache / "engines" / "tts"),
                "engine_options": settings.engine_options,
                "max_chars": settings.max_chars,
                "auto_lang": settings.auto_lang,
            },
            slots=1,
            max_waiting=settings.max_waiting,
            load_timeout=settings.model_load_timeout,
            idle_unload=settings.idle_unload,
            log_level=settings.log_level,
            tmp=self.spool.path,
        )
