"""What a TTS worker process runs: one engine, and texts turned into samples piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from core.engine_loading import EngineConfig, load_engine
from core.errors import InternalError, InvalidRequest, NotSupported
from core.worker import Event, WorkerHandler
from tts import engine_factory, language, pieces
from tts.engine import TtsEngine
from tts.reference import References
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples
from utils.audio.resample import Resampler
from utils.text import normalize

log = logging.getLogger(__name__)


class WorkerConfig(EngineConfig):
    """The configuration that the API process hands over."""

    max_chars: int = 180
    auto_lang: bool = True


class Request(BaseModel):
    """The parameters of a call: what to say and how, the output rate in Hz (None: the engine's), speed 0.25 to 4."""

    text: str
    voice: Voice
    options: SpeechOptions = SpeechOptions()
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    sample_rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call made ready for the engine: its pieces, its output rate in Hz, and what is left to stretch (`tempo`)."""

    pieces: list[str]
    voice: Voice
    options: SpeechOptions
    sample_rate: int
    tempo: float


class TtsWorker(WorkerHandler):
    """Runs `synthesize` calls, one at a time."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._config = WorkerConfig.model_validate(dict(config))
        self._engine: TtsEngine | None = None
        self._references = References()

    def load(self) -> dict[str, Any]:
        """Load the engine and tell what it can do."""
        engine = self._engine = load_engine(engine_factory.registry(), self._config)
        if self._config.auto_lang:
            language.warm_up(engine.languages)
        return self._facts(engine, engine.context.device)

    def call(self, method: str, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        """Speak: a `start` event at once, then an `audio` event with signed 16-bit PCM for every chunk."""
        del body
        if method != "synthesize":
            raise NotSupported(f"a TTS worker has no method {method!r}")
        engine = self._loaded()
        job = self._prepare(engine, Request.model_validate(dict(params)))
        return self._speak(engine, job)

    def close(self) -> None:
        """Free the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _facts(self, engine: TtsEngine, device: str) -> dict[str, Any]:
        model_id = self._config.model_id
        return {
            "engine": self._config.engine,
            "model": model_id,
            "device": device,
            "sample_rate": engine.sample_rate,
            "speed_range": list(engine.speed_range),
            "can_clone": engine.can_clone,
            "languages": list(engine.languages),
            "voices": [replace(voice, model=model_id) for voice in engine.voices()],
        }

    def _loaded(self) -> TtsEngine:
        if self._engine is None:
            raise InternalError("the engine is not loaded")
        return self._engine

    def _prepare(self, engine: TtsEngine, request: Request) -> Job:
        """Return the job of a request; InvalidRequest for a text with nothing to say or that the model cannot speak."""
        text = normalize.for_speech(request.text)
        cut = pieces.cut(text, max_chars=min(self._config.max_chars, engine.max_chars), first_chars=engine.first_chars)
        if not cut:
            raise InvalidRequest("the input has nothing that can be spoken", param="input")
        low, high = engine.speed_range
        speed = min(max(request.speed, low), high)
        options = replace(request.options, speed=speed, language=self._language(engine, text, request))
        if options.instructions is not None and not engine.takes_instructions:
            log.debug("the engine takes no instructions; they are left out")
            options = replace(options, instructions=None)
        engine.check(text, request.voice, options)
        return Job(
            pieces=cut,
            voice=request.voice,
            options=options,
            sample_rate=request.sample_rate or engine.sample_rate,
            tempo=request.speed / speed,
        )

    def _language(self, engine: TtsEngine, text: str, request: Request) -> str | None:
        known = [language.primary(tag) for tag in engine.languages]
        found = language.choose(
            text,
            requested=request.options.language,
            voice=request.voice.language,
            candidates=known,
            automatic=self._config.auto_lang,
        )
        if found and known and language.primary(found) not in known:
            param = "language" if request.options.language else "input"
            raise InvalidRequest(f"this model does not speak {found}; it speaks {', '.join(known)}", param=param)
        return found

    def _speak(self, engine: TtsEngine, job: Job) -> Iterator[Event]:
        spoken = job.options.language
        yield Event(
            "start",
            {"sample_rate": job.sample_rate, "tempo": job.tempo, "language": spoken, "pieces": len(job.pieces)},
        )
        if job.voice.type == "cloned":
            self._references.prepare(engine, job.voice)
        resampler = Resampler(engine.sample_rate, job.sample_rate)
        for number, piece in enumerate(job.pieces):
            with closing(_chunks(engine, piece, job)) as chunks:
                for samples in chunks:
                    yield from _audio(number, piece, resampler.feed(samples), job)
        # What the resampler held back; without one this is empty.
        rest = resampler.feed(np.zeros(0, dtype=np.float32), last=True)
        yield from _audio(len(job.pieces) - 1, job.pieces[-1], rest, job)


def _audio(number: int, piece: str, samples: Samples, job: Job) -> Iterator[Event]:
    if samples.size:
        yield Event("audio", {"piece": number, "text": piece}, Audio(samples, job.sample_rate).to_s16())


def _chunks(engine: TtsEngine, piece: str, job: Job) -> Generator[Samples, None, None]:
    """Yield what the engine makes of a piece; closing it closes the engine's iterator, where that can be closed."""
    made = engine.synthesize(piece, job.voice, job.options)
    try:
        for chunk in made:
            if not np.isfinite(chunk.samples).all():
                raise InternalError("the engine made samples that are not numbers")
            yield chunk.samples
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()
