"""The TTS service without HTTP: models, voices, workers, and speech as it is synthesized; for the API and the CLI."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from typing import Any, Final

from pydantic import TypeAdapter

from core import errors
from core.model_entry import ModelRef
from core.process import WorkerSpec
from core.service import Service
from core.worker import Event
from tts import engine_factory, mixes
from tts.align import Alignment, Ear
from tts.capabilities import capabilities
from tts.engine import TtsEngine
from tts.recordings import Recordings
from tts.settings import TtsSettings
from tts.speech import Delivery, Speech, Utterance
from tts.voice import SpeechOptions, Voice
from tts.voices import VoiceBook

log = logging.getLogger(__name__)
TASK: Final = "text-to-speech"
PCM_RATE = 24_000
FORGET_SECONDS = 60.0
CALLS = 16
"""Syntheses a process takes at once: they take turns on the engine piece by piece, each with a thread of its own."""
_VOICES = TypeAdapter(list[Voice])


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
        self.recordings = Recordings(settings.voice_dir)
        # With the facts of the worker that told them: a worker that loads again tells new ones.
        self._loaded_voices: dict[str, tuple[Mapping[str, Any], list[Voice]]] = {}
        self._book = VoiceBook(self.recordings, default=settings.default_voice)
        self._ear = Ear(settings.align_url, settings.align_key) if settings.align_url else None

    async def prepare(self, model: ModelRef) -> None:
        """Load a model whose voices nobody can tell before that, as those of XTTS."""
        if "voices" not in self.host.worker(model).facts and not self.builtin(model):
            await self.host.load(model)

    async def look(self) -> None:
        """Look into the voices folder; `voices` and `find_voice` know it as it was at the last look."""
        await asyncio.to_thread(self.recordings.voices)

    def voices(self, model: ModelRef) -> list[Voice]:
        """Return the voices of a model: its own, and the recordings in the voices folder where it can clone."""
        return self._book.voices(self.builtin(model), clones=self._can_clone(model))

    def listed(self, name: str) -> ModelRef:
        """Return the model whose voices a name stands for: of a chain the first that can answer and whose are known."""
        models = self.host.answering(name)
        return next((model for model in models if self.voices(model)), models[0])

    def find_voice(self, model: ModelRef, name: str | None, language: str | None) -> Voice:
        """Return the voice a request names, None meaning the default one, or the mix of voices that it names.

        Raises VoiceNotFound, which lists what there is, UnsupportedParameter for a mix where the engine cannot mix.
        """

        def find(name: str | None) -> Voice:
            return self._book.resolve(name, language, self.builtin(model), clones=self._can_clone(model))

        try:
            return find(name)
        except errors.VoiceNotFound:
            if not name or not mixes.is_mix(name):
                raise
        found = mixes.mixed(name, find)
        if not self._engine(model).can_mix:
            raise errors.UnsupportedParameter(f"the model {model.id} cannot mix voices", param="voice")
        return found

    def stand_in_voice(self, model: ModelRef, voice: str | Voice | None, language: str | None) -> Voice:
        """Return the voice in which a model speaks for another one that cannot: the same by name, else its default.

        Raises VoiceNotFound for the name of a recording that it cannot speak with: nobody else's voice will do.
        """
        if isinstance(voice, Voice):
            return voice
        try:
            return self.find_voice(model, voice, language)
        except errors.InvalidRequest:
            if any(voice in {each.id, each.name} for each in self.recordings.known().values()):
                raise
        return self.find_voice(model, None, language)

    def cloning_models(self, models: list[ModelRef]) -> list[ModelRef]:
        """Return those of a chain that speak with a recording a request brings, or else the first model that can.

        Raises Forbidden where cloning is off, UnsupportedParameter where no model, or not the one asked for, can clone.
        """
        if not self.settings.voice_cloning:
            raise errors.Forbidden("voice cloning is switched off here", param="reference_audio")
        able = [model for model in models if self._can_clone(model)]
        if not able and models[0].id == self.host.default().id and self.cloner:
            able = [self.cloner]
        if not able:
            raise errors.UnsupportedParameter(f"the model {models[0].id} cannot clone voices", param="reference_audio")
        return able

    def _model_and_voice(self, model: ModelRef, name: str | None, language: str | None) -> tuple[ModelRef, Voice]:
        """Return the voice and its model; a voice the default model lacks brings the installed model that has it."""
        try:
            return model, self.find_voice(model, name, language)
        except errors.VoiceNotFound:
            if model.id == self.host.default().id:
                for other in self.host.installed():
                    for voice in self.voices(other):
                        if name in {voice.id, voice.name}:
                            return other, voice
            raise

    def builtin(self, model: ModelRef) -> list[Voice]:
        """Return a model's own voices, as far as they can be told before it is loaded."""
        facts = self.host.worker(model).facts
        if "voices" in facts:
            known = self._loaded_voices.get(model.id)
            if known is None or known[0] is not facts:
                known = self._loaded_voices[model.id] = facts, _VOICES.validate_python(facts["voices"])
            return known[1]
        found = self._engine(model).list_voices(model.path) if model.path else ()
        return [replace(voice, model=model.id) for voice in found]

    @property
    def cloner(self) -> ModelRef | None:
        """The first installed model that can speak with a recorded voice."""
        return next((model for model in self.host.installed() if self._can_clone(model)), None)

    @property
    def clones(self) -> bool:
        """Whether any installed model can speak with a recorded voice."""
        return self.cloner is not None

    def check_cloning(self) -> None:
        """Raise Forbidden where nobody may make voices from recordings, NotSupported where no model can use them."""
        if not self.settings.voice_cloning:
            raise errors.Forbidden("making voices is switched off here (VOICE_CLONING=false)")
        if not self.clones:
            raise errors.NotSupported("no installed model can speak with a recorded voice; see docs/voices.md")

    async def forget(self, voice: Voice) -> None:
        """Have the loaded models forget a voice that was deleted. A worker that cannot answer is gone, or will be."""
        for model in self.host.installed():
            if self.host.worker(model).state != "ready" or not self._can_clone(model):
                continue
            params = {"voice": asdict(voice)}
            try:
                async with self.host.call(
                    model, "forget", params, timeout=FORGET_SECONDS, short=True, wait=True
                ) as call:
                    async for _ in call:
                        pass
            except errors.VoiceStackError as error:
                log.warning("%s may know the deleted voice %s until it is unloaded: %s", model.id, voice.id, error)

    def _can_clone(self, model: ModelRef) -> bool:
        return bool(self.host.worker(model).facts.get("can_clone", self._engine(model).can_clone))

    def _engine(self, model: ModelRef) -> type[TtsEngine]:
        return self._registry.get(model.engine or self.settings.engine)

    def utterance(
        self, text: str, model: ModelRef, voice: str | Voice | None, options: SpeechOptions, delivery: Delivery
    ) -> Utterance:
        """Return what a request wants said: its voice found, its output rate chosen. Raises VoiceNotFound."""
        found = voice
        if not isinstance(found, Voice):
            model, found = self._model_and_voice(model, found, options.language)
        default = PCM_RATE if delivery.response_format == "pcm" else self.settings.sample_rate
        delivery = replace(delivery, sample_rate=delivery.sample_rate or default)
        return Utterance(text=text, voice=found, model=model, options=options, delivery=delivery)

    @asynccontextmanager
    async def speak(self, utterance: Utterance) -> AsyncIterator[Speech]:
        """Start to synthesize; leaving the context ends it.

        Returns once the worker has accepted the text, before the first sound. Raises what the engine raised.
        """
        how = utterance.delivery
        params = {
            "text": utterance.text,
            "voice": asdict(utterance.voice),
            "options": asdict(utterance.options),
            "sample_rate": how.sample_rate,
            "volume": how.volume,
            "pause": how.pause,
            "normalize": how.normalize,
            "timestamps": how.timestamps,
        }
        async with AsyncExitStack() as stack:
            opening = self.host.call(utterance.model, "synthesize", params, timeout=self.settings.timeout)
            call = await stack.enter_async_context(opening)
            events = self._counted(call, utterance.model)
            try:
                start = (await anext(events)).data
            except StopAsyncIteration:
                raise errors.InternalError("the engine made no sound") from None
            alignment = self._alignment(start) if how.timestamps and not start["times_words"] else None
            if alignment is not None:
                stack.push_async_callback(alignment.close)
            yield Speech(
                events=events,
                stop=call.cancel,
                sample_rate=start["sample_rate"],
                tempo=start["tempo"],
                short=start["short"],
                words=[] if alignment is None else alignment.words,
                alignment=alignment,
            )

    async def _counted(self, events: AsyncIterable[Event], model: ModelRef) -> AsyncGenerator[Event, None]:
        """Yield the events of a speech and tell the metrics how long the work on how much sound took."""
        started, seconds, rate = time.monotonic(), 0.0, 0.0
        async for event in events:
            rate = rate or event.data["sample_rate"] * event.data["tempo"]
            seconds += len(event.body) / 2 / rate
            yield event
        self.metrics.observe_audio(seconds, time.monotonic() - started, model=model.id)

    def _alignment(self, start: Mapping[str, Any]) -> Alignment:
        """Return what finds the words of a speech; UnsupportedParameter where nothing can."""
        if self._ear is None:
            raise errors.UnsupportedParameter(
                "this engine does not tell when words are spoken; TTS_ALIGN_URL names an ASR service that can",
                param="timestamps",
            )
        return Alignment(
            self._ear,
            sample_rate=start["sample_rate"],
            language=start["language"],
            folder=self.spool.path,
            timeout=self.settings.timeout,
        )

    async def close(self) -> None:
        """End the workers and remove what is left of the requests."""
        await super().close()
        if self._ear is not None:
            await self._ear.close()

    def own_capabilities(self) -> dict[str, Any]:
        """Return what only this service can do with what is installed."""
        return capabilities(self)

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
                "threads": settings.threads,
                "cache": str(settings.engine_cache),
                "engine_options": self.engine_options(model, settings.engine_options),
                "max_chars": settings.max_chars,
                "auto_lang": settings.auto_lang,
                "utterance_cache_mb": settings.utterance_cache_mb,
            },
            devices=self.devices,
            slots=CALLS,
            short_slots=1,
            max_waiting=settings.max_waiting,
            load_timeout=settings.model_load_timeout,
            idle_unload=settings.idle_unload,
            log_level=settings.log_level,
            tmp=self.spool.path,
        )
