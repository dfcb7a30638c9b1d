"""The ASR service without HTTP: models, workers, decoding, transcripts as they come; for the API and the CLI."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from asr import engine_factory
from asr.audio_calls import AudioCall, AudioCalls
from asr.capabilities import capabilities
from asr.diarization.people import People
from asr.diarization.service import Diarizer
from asr.result import TranscriptResult
from asr.settings import AsrSettings
from asr.transcript import LanguageGuess, Segment, Task, TranscribeOptions
from asr.tuning import Tuned, configured
from asr.windows import WindowOptions
from core import errors
from core.model_entry import ModelRef
from core.process import WorkerSpec
from core.service import Service
from core.spool import storage_error
from core.worker import Event
from utils.audio.decode import DecoderKilled, Limits, MediaError, to_pcm
from utils.audio.pcm import PcmFile

log = logging.getLogger(__name__)
TASK: Final = "automatic-speech-recognition"
CALLS, SHORT_CALLS = 8, 32
"""Transcriptions a process takes at once, and beside them those of short audio: enough of these to fill a GPU's batch.

Each has a thread and windows of audio ready; whose window is next on the device is decided in the process.
"""
PARSERS = 2
_SEGMENT = TypeAdapter(Segment)
_MEDIA_ERRORS: dict[str, type[errors.VoiceStackError]] = {
    "unsupported": errors.UnsupportedFormat,
    "too_long": errors.AudioTooLong,
    "no_space": errors.InsufficientStorage,
}


@dataclass
class Transcript:
    """A transcript that is being made: iterate it for its segments.

    `language`, `language_probability` and `duration` are known from the first segment on; `seconds_done` grows.
    """

    events: AsyncIterable[Event]
    duration: float
    language: str | None = None
    language_probability: float = 0.0
    seconds_done: float = 0.0
    segments: list[Segment] = field(default_factory=list)

    async def __aiter__(self) -> AsyncGenerator[Segment, None]:
        """Yield segments as they are decoded; raise what the engine raised."""
        async for event in self.events:
            if event.name == "segment":
                segment = _SEGMENT.validate_python(event.data)
                self.segments.append(segment)
                yield segment
            elif event.name == "info":
                self.language = event.data["language"]
                self.language_probability = event.data["language_probability"]
            elif event.name == "progress":
                self.seconds_done = event.data["seconds"]

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return self.seconds_done / self.duration if self.duration else 0.0

    async def finish(self) -> None:
        """Wait for the last segment."""
        async for _ in self:
            pass

    def result(self, task: Task, **layout: Any) -> TranscriptResult:
        """Return what there is, for the formats; `layout` goes to TranscriptResult as it is."""
        return TranscriptResult(
            task=task,
            language=self.language,
            language_probability=self.language_probability,
            duration=self.duration,
            segments=tuple(self.segments),
            **layout,
        )


class AsrService(Service):
    """Everything the ASR service does."""

    def __init__(self, settings: AsrSettings) -> None:
        self.settings = settings
        super().__init__(
            settings,
            name="asr",
            task=TASK,
            engine=settings.engine,
            model=settings.model,
            preload=settings.preload,
            registry=engine_factory.registry(),
        )
        self.limits = Limits(max_seconds=settings.max_audio_seconds, timeout=settings.decode_timeout)
        # Each decoder may take a gigabyte and a core.
        self._decoders = asyncio.Semaphore(os.cpu_count() or 1)
        self.parsers = asyncio.Semaphore(PARSERS)
        """Large JSON bodies that are parsed at the same time, each of which takes three times its size."""
        self.diarizer = Diarizer(settings, metrics=self.metrics, spool=lambda: self.spool)
        self.people = People.of(settings)
        self._calls = AudioCalls(self.host, metrics=self.metrics, spool=lambda: self.spool)

    async def decode(
        self,
        upload: Path,
        folder: Path,
        *,
        audio_track: int | None = None,
        raw_rate: int | None = None,
        head_seconds: float | None = None,
        channels: int | None = 1,
    ) -> PcmFile:
        """Return an upload as PCM: in place when it is a plain PCM WAV, else decoded into `folder`.

        With a `raw_rate` (Hz) the upload is 16-bit little-endian mono samples without a header, and used in place.
        What must be decoded is decoded up to `head_seconds`, where the caller needs no more, and mixed to `channels`
        (Diarizer.channels); None keeps its own.
        Raises InvalidAudio, UnsupportedFormat, AudioTooLong, InsufficientStorage or DecoderFailed.
        """
        try:
            async with self._decoders:
                target = folder / f"track-{audio_track or 0}.s16"
                return await to_pcm(
                    upload,
                    target,
                    limits=self.limits,
                    audio_track=audio_track,
                    raw_rate=raw_rate,
                    head_seconds=head_seconds,
                    channels=channels,
                )
        except MediaError as error:
            param = "audio_track" if error.reason == "no_track" else "file"
            raise _MEDIA_ERRORS.get(error.reason, errors.InvalidAudio)(str(error), param=param) from error
        except DecoderKilled as error:
            raise errors.DecoderFailed("the audio decoder was ended from outside; try again") from error
        except OSError as error:
            raise storage_error(error) from error

    @asynccontextmanager
    async def transcribe(
        self, audio: PcmFile, options: TranscribeOptions, *, model: ModelRef, sha256: str = "", wait: bool = False
    ) -> AsyncIterator[Transcript]:
        """Start a transcription, or join an identical one that is in progress; the last to leave the context ends it.

        `sha256` of the upload tells which are identical, and lets one that killed the engine twice be refused; without
        it the transcription is shared with nobody. Raises UnprocessableAudio, and everything ModelHost.call raises,
        which also has `wait`.
        """
        self.check(options, model=model, sha256=sha256)
        call = AudioCall(
            method="transcribe",
            audio=audio,
            options=options,
            model=model,
            timeout=self.settings.timeout,
            sha256=sha256,
            wait=wait,
            alike=replace(options, early=False),
        )
        async with self._calls.join(call) as events:
            yield Transcript(events=events, duration=audio.duration)

    async def detect_language(
        self, audio: PcmFile, where: WindowOptions, *, model: ModelRef, sha256: str = ""
    ) -> LanguageGuess:
        """Tell the language by a few windows of speech, without waiting for long transcriptions that run or queue.

        Raises NotSupported for a model that cannot, UnprocessableAudio, and what ModelHost.call raises but QueueFull.
        """
        self._calls.poison.check(sha256, model.id)
        params = {"pcm": audio.to_dict(), "windows": asdict(where)}
        guess = LanguageGuess(None)
        async with self.host.call(
            model, "detect_language", params, timeout=self.settings.timeout, short=True, wait=True
        ) as call:
            with self._calls.poison.watch(sha256, model.id):
                async for event in call:
                    guess = LanguageGuess(**event.data)
        return guess

    def health(self) -> dict[str, Any]:
        """Return what /health tells: engine, model and device of the transcription, and all workers."""
        own = super().health()
        return {**own, "workers": [*own["workers"], *self.diarizer.host.workers()]}

    async def start(self) -> None:
        """Begin to load the default models."""
        await super().start()
        self.diarizer.start()

    def drain(self) -> None:
        """Begin to shut down: what runs goes on, what waits is told to go elsewhere."""
        super().drain()
        self.diarizer.drain()

    async def close(self) -> None:
        """End the transcriptions, the workers and the rest."""
        await self._calls.close()
        await self.diarizer.close()
        await super().close()
        with suppress(errors.Unavailable):
            await self.people.run(self.people.close)

    def check(self, options: TranscribeOptions, *, model: ModelRef, sha256: str = "") -> None:
        """Raise what can be known before the work begins: UnsupportedTask, UnprocessableAudio."""
        if options.task == "translate" and not model.translates:
            raise errors.UnsupportedTask(f"the model {model.id} cannot translate; use a multilingual Whisper model")
        self._calls.poison.check(sha256, model.id)

    def own_capabilities(self) -> dict[str, Any]:
        """Return what only this service can do with what is installed."""
        return capabilities(self)

    @cached_property
    def _tuned(self) -> Tuned:
        return Tuned(self.settings)

    def spec(self, model: ModelRef) -> WorkerSpec:
        """Return what the worker of a model runs."""
        settings = self.settings
        spec = WorkerSpec(
            name=model.id,
            handler="asr.worker:AsrWorker",
            config={
                "engine": model.engine or settings.engine,
                "model": str(model.path) if model.path else None,
                "model_id": model.id,
                "device": settings.device,
                "compute_type": settings.compute_type,
                "workers": settings.workers,
                "threads": settings.threads,
                "cache": str(settings.places.cache / "engines" / "asr"),
                "engine_options": self.engine_options(model, settings.engine_options),
            },
            devices=self.devices,
            slots=CALLS,
            short_slots=SHORT_CALLS,
            max_waiting=settings.max_waiting,
            load_timeout=settings.model_load_timeout,
            idle_unload=settings.idle_unload,
            log_level=settings.log_level,
            tmp=self.spool.path,
        )
        setup = self._tuned.setup(model, self.host.engine(model))
        return configured(spec, setup) if setup else spec
