"""The ASR service without HTTP: models, workers, decoding, transcripts as they come; for the API and the CLI."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from asr import engine_factory
from asr.result import TranscriptResult
from asr.settings import AsrSettings
from asr.transcript import Segment, Task, TranscribeOptions
from core import errors
from core.model_entry import ModelRef
from core.process import Call, WorkerSpec
from core.service import Service
from core.spool import storage_error
from utils.audio.decode import DecoderKilled, Limits, MediaError, to_pcm
from utils.audio.pcm import PcmFile

log = logging.getLogger(__name__)
TASK: Final = "automatic-speech-recognition"
POISON_WINDOW = 3600.0
POISON_DEATHS = 2
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

    call: Call
    duration: float
    language: str | None = None
    language_probability: float = 0.0
    seconds_done: float = 0.0
    segments: list[Segment] = field(default_factory=list)

    async def __aiter__(self) -> AsyncGenerator[Segment, None]:
        """Yield segments as they are decoded; raise what the engine raised."""
        async for event in self.call:
            if event.name == "segment":
                segment = _SEGMENT.validate_python(event.data)
                self.segments.append(segment)
                yield segment
            elif event.name == "info":
                self.language = event.data["language"]
                self.language_probability = event.data["language_probability"]
            elif event.name == "progress":
                self.seconds_done = event.data["seconds"]

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
        self._poison: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=POISON_DEATHS))

    async def decode(self, upload: Path, folder: Path, *, audio_track: int | None = None) -> PcmFile:
        """Return an upload as PCM: in place when it is a plain PCM WAV, else decoded into `folder`.

        Raises InvalidAudio, UnsupportedFormat, AudioTooLong, InsufficientStorage or DecoderFailed.
        """
        try:
            async with self._decoders:
                return await to_pcm(upload, folder / "audio.s16", limits=self.limits, audio_track=audio_track)
        except MediaError as error:
            raise _MEDIA_ERRORS.get(error.reason, errors.InvalidAudio)(str(error), param="file") from error
        except DecoderKilled as error:
            raise errors.DecoderFailed("the audio decoder was ended from outside; try again") from error
        except OSError as error:
            raise storage_error(error) from error

    @asynccontextmanager
    async def transcribe(
        self, audio: PcmFile, options: TranscribeOptions, *, model: ModelRef, sha256: str = ""
    ) -> AsyncIterator[Transcript]:
        """Start a transcription; leaving the context ends it.

        `sha256` of the upload lets one that killed the engine twice be refused. Raises UnprocessableAudio for that,
        and everything ModelHost.call raises.
        """
        self.check(options, model=model, sha256=sha256)
        params = {"pcm": {**asdict(audio), "path": str(audio.path)}, "options": asdict(options)}
        async with self.host.call(model, "transcribe", params, timeout=self.settings.timeout) as call:
            try:
                yield Transcript(call=call, duration=audio.duration)
            except errors.EngineCrashed:
                # Only a crash while this audio was worked on counts, and only where no neighbour may be the cause.
                if sha256 and self.settings.workers == 1:
                    self._poison[sha256].append(time.monotonic())
                raise

    def check(self, options: TranscribeOptions, *, model: ModelRef, sha256: str = "") -> None:
        """Raise what can be known before the work begins: UnsupportedTask, UnprocessableAudio."""
        if options.task == "translate" and not model.translates:
            raise errors.UnsupportedTask(f"the model {model.id} cannot translate; use a multilingual Whisper model")
        deaths = self._poison.get(sha256, deque())
        if sha256 and len(deaths) >= POISON_DEATHS and time.monotonic() - deaths[0] < POISON_WINDOW:
            raise errors.UnprocessableAudio("this audio ended the engine's process twice within the last hour")

    def spec(self, model: ModelRef) -> WorkerSpec:
        """Return what the worker of a model runs."""
        settings = self.settings
        return WorkerSpec(
            name=model.id,
            handler="asr.worker:AsrWorker",
            config={
                "engine": model.engine or settings.engine,
                "model": str(model.path) if model.path else None,
                "model_id": model.id,
                "device": settings.device,
                "device_index": settings.device_index,
                "compute_type": settings.compute_type,
                "threads": settings.threads,
                "workers": settings.workers,
                "cache": str(settings.places.cache / "engines" / "asr"),
                "engine_options": settings.engine_options,
            },
            slots=settings.workers,
            max_waiting=settings.max_waiting,
            load_timeout=settings.model_load_timeout,
            idle_unload=settings.idle_unload,
            log_level=settings.log_level,
            tmp=self.spool.path,
        )
