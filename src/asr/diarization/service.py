"""Diarization and voiceprints without HTTP: their models, their worker processes, and what comes back from them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from asr.audio_calls import AudioCall, AudioCalls
from asr.diarization import limits
from asr.diarization.engine import (
    Capabilities,
    Diarization,
    DiarizationEngine,
    DiarizeOptions,
    EncoderFacts,
    SpeakerEncoder,
    Turn,
    Voiceprint,
)
from asr.diarization.engine_factory import registry
from asr.settings import AsrSettings
from core import errors
from core.catalogue import Catalogue
from core.host import ModelHost
from core.metrics import Metrics
from core.model_entry import ModelRef, Task
from core.process import WorkerSpec
from core.spool import Spool
from utils.audio.pcm import PcmFile

log = logging.getLogger(__name__)
TASK: Final[Task] = "speaker-diarization"
CALLS, SHORT_CALLS = 1, 8
"""Diarizations that a process takes at once, and beside them those of short audio and voices: one long one at a time
takes the memory of one, and keeps nobody waiting who asks about a few seconds."""
THREADS_AT_ONCE = 2
"""Calls that the engine itself is given at once: a long one and a short one."""


class Diarizer:
    """Tells who speaks, in a worker process of its own beside that of the transcription.

    `start` before the first call, `close` at the end. `spool` returns what holds the files in flight. Raises
    ConfigurationError for an engine there is not.
    """

    def __init__(self, settings: AsrSettings, *, metrics: Metrics, spool: Callable[[], Spool]) -> None:
        engines = registry()
        engines.check(settings.diarization_engine)
        self._settings = settings
        self._spool = spool
        self.host = ModelHost(
            Catalogue.of(settings.places, engine=settings.diarization_engine),
            task=TASK,
            default=settings.diarization_model,
            settings=settings,
            registry=engines,
            spec=self.spec,
            metrics=metrics,
        )
        self._calls = AudioCalls(self.host, metrics=metrics, spool=spool)

    def resolve(self, name: str | None) -> ModelRef:
        """Return the diarization model that a request names; empty or None means the default.

        Raises ModelNotFound for one that is unknown or not installed, NotSupported where the default is not installed
        or the library of an engine is missing.
        """
        try:
            return self.host.resolve(name)
        except errors.ModelNotFound as error:
            if name:
                raise
            raise self._none(error) from error

    def _none(self, error: errors.ModelNotFound) -> errors.NotSupported:
        try:
            model = self.host.default()
        except errors.ModelNotFound:
            return errors.NotSupported(f"the default diarization model is not there: {error.message}")
        return errors.NotSupported(f"no diarization model is installed; `voice-stack models pull {model.id}` gets one")

    def check(self, options: DiarizeOptions, model: ModelRef) -> None:
        """Raise InvalidRequest or UnsupportedParameter for what cannot be asked of the model; nothing is loaded."""
        limits.check(options, self.capabilities(model))

    def capabilities(self, model: ModelRef) -> Capabilities:
        """Return what the engine of a model can do."""
        engine = self.host.engine(model)
        return engine.capabilities if issubclass(engine, DiarizationEngine) else Capabilities()

    def channels(self, model: ModelRef) -> int | None:
        """Return how many channels a recording is decoded to for a model: None, all, for one that hears them apart."""
        return None if self.capabilities(model).by_channel else 1

    def encodes(self, model: ModelRef) -> bool:
        """Return whether a model gives voiceprints."""
        return issubclass(self.host.engine(model), SpeakerEncoder)

    async def facts(self, model: ModelRef) -> EncoderFacts:
        """Return what the vectors of a model are; one that was never loaded is loaded for it.

        Raises NotSupported for a model without, and what loading it raises.
        """
        self.check_encodes(model)
        worker = self.host.worker(model)
        if not worker.facts:
            worker = await self.host.load(model)
        return EncoderFacts(**worker.facts["encoder"])

    def check_encodes(self, model: ModelRef, *, param: str = "model") -> None:
        """Raise NotSupported, about the parameter `param`, for a model without voiceprints; nothing is loaded."""
        if not self.encodes(model):
            raise errors.NotSupported(f"the model {model.id} has no speaker embeddings", param=param)

    async def diarize(
        self,
        audio: PcmFile,
        options: DiarizeOptions,
        *,
        model: ModelRef,
        sha256: str = "",
        wait: bool = False,
        timeout: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Diarization:
        """Tell who speaks when, or join an identical diarization that is in progress.

        `on_progress` is told the share that is done, from 0 to 1. The last who cancels this ends the work; the file
        must stay until then. `sha256` of the upload tells which are identical, and lets one that killed the engine
        twice be refused; without it the work is shared with nobody. It may take `timeout` seconds, None for those of
        the settings. Raises what `check` does, UnprocessableAudio, and everything that ModelHost.call raises, which
        also has `wait`.
        """
        self.check(options, model)
        call = AudioCall(
            method="diarize",
            audio=audio,
            options=options,
            model=model,
            timeout=self._settings.timeout if timeout is None else timeout,
            sha256=sha256,
            wait=wait,
        )
        found: Diarization | None = None
        async with self._calls.join(call) as events:
            async for event in events:
                if event.name == "diarization":
                    found = _diarization(event.data)
                elif event.name == "progress" and on_progress is not None:
                    on_progress(event.data["share"])
        if found is None:
            raise errors.InternalError("the diarization ended without a result")
        return found

    async def embed(self, audio: PcmFile, *, model: ModelRef) -> Voiceprint:
        """Return the voice in a recording of one person.

        Raises InvalidAudio where there is too little speech, NotSupported for a model without voiceprints, and what
        ModelHost.call raises.
        """
        self.check_encodes(model)
        params = {"pcm": audio.to_dict()}
        data: dict[str, Any] = {}
        async with self.host.call(model, "embed", params, timeout=self._settings.timeout, short=True) as call:
            async for event in call:
                data = event.data
        if not data:
            raise errors.InternalError("the speaker encoder ended without a result")
        vector = np.asarray(data["vector"], dtype=np.float32)
        return Voiceprint(vector, data["seconds"], await self.facts(model))

    def start(self) -> None:
        """Begin to load the default model, where it shall be there from the beginning; tell the log of one unknown."""
        try:
            self.host.default()
        except errors.ModelNotFound as error:
            log.warning("DIARIZATION_MODEL: %s; requests for speakers are refused", error.message)
        self.host.start(preload=self._settings.diarization_preload)

    def drain(self) -> None:
        """Begin to shut down: what runs goes on, what waits is told to go elsewhere."""
        self.host.drain()

    async def close(self) -> None:
        """End the diarizations and the workers."""
        await self._calls.close()
        await self.host.close()

    def spec(self, model: ModelRef) -> WorkerSpec:
        """Return what the worker of a model runs."""
        settings = self._settings
        engine = model.engine or settings.diarization_engine
        # A request may name a model of another engine, which does not know them.
        given = settings.diarization_engine_options if engine == settings.diarization_engine else {}
        return WorkerSpec(
            name=model.id,
            handler="asr.diarization.worker:DiarizationWorker",
            config={
                "engine": engine,
                "model": str(model.path) if model.path else None,
                "model_id": model.id,
                "device": settings.diarization_device,
                "threads": settings.diarization_threads,
                "workers": THREADS_AT_ONCE,
                "cache": str(settings.places.cache / "engines" / "diarization"),
                "engine_options": {**given, **model.options},
            },
            devices=settings.device_index[:1],
            slots=CALLS,
            short_slots=SHORT_CALLS,
            max_waiting=settings.max_waiting,
            load_timeout=settings.model_load_timeout,
            idle_unload=settings.diarization_idle_unload,
            log_level=settings.log_level,
            tmp=self._spool().path,
        )


def _diarization(data: dict[str, Any]) -> Diarization:
    """Return what the worker sent."""
    return Diarization(
        turns=tuple(Turn(*turn) for turn in data["turns"]),
        exclusive=tuple(Turn(*turn) for turn in data["exclusive"]),
        embeddings={int(number): np.asarray(vector, np.float32) for number, vector in data["embeddings"].items()},
    )
