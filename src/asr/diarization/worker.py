"""The diarization engine inside its worker process: files become turns of speakers, or the vector of one voice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any, TypeAlias

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict

from asr.diarization.engine import (
    SAMPLE_RATE,
    Diarization,
    DiarizationEngine,
    DiarizeOptions,
    SpeakerEncoder,
    Turn,
)
from asr.diarization.engine_factory import registry
from asr.diarization.recording import PcmRecording
from asr.pieces import EXPRESS_SECONDS
from core.engine_loading import EngineConfig, load_engine
from core.errors import InternalError, InvalidAudio, NotSupported
from core.scheduler import Cancelled, Request, Scheduler
from core.worker import CallContext, Event, WorkerHandler
from utils.audio.pcm import PcmFile, Samples

VOICE_SECONDS = 60.0
"""Speech of which the vector of a voice is made; more makes it no better."""

_Request: TypeAlias = Request[Any, Any]


class _Diarize(BaseModel):
    """The decoded audio, and what is asked of its diarization."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pcm: PcmFile
    options: DiarizeOptions = DiarizeOptions()


class _Embed(BaseModel):
    """The decoded audio, of one person."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pcm: PcmFile


class DiarizationWorker(WorkerHandler):
    """Owns one engine.

    `diarize` yields `progress` {share} and then one `diarization` {turns: [[start, end, speaker]], exclusive: the same,
    embeddings: {speaker: [numbers]}}; `embed` yields one `embedding` {vector: [numbers], seconds: of speech}. One
    diarization is made at a time; beside it there is room for what is short.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._engine: DiarizationEngine | None = None
        self._scheduler: Scheduler[Any, Any] | None = None

    def load(self) -> dict[str, Any]:
        """Make and load the engine of the configuration; ConfigurationError says what is wrong with it."""
        engine = self._engine = load_engine(registry(), EngineConfig.model_validate(dict(self.config)))
        workers = max(engine.context.workers, 1)
        spare = min(workers - 1, 1)
        self._scheduler = Scheduler(slots=workers - spare, spare=spare)
        return {
            "engine": self.config["engine"],
            "model": self.config["model_id"],
            "device": engine.context.device,
            "capabilities": asdict(engine.capabilities),
            "encoder": asdict(engine.facts) if isinstance(engine, SpeakerEncoder) else None,
        }

    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        """Do `diarize` with {pcm, options} or `embed` with {pcm}.

        Raises InvalidAudio where there is too little speech for a voice, NotSupported for an engine without vectors.
        """
        engine, scheduler = self._engine, self._scheduler
        if method not in ("diarize", "embed") or engine is None or scheduler is None:
            raise InternalError(f"the diarization worker cannot {method}")
        context = context or CallContext()
        model: type[_Diarize] | type[_Embed] = _Diarize if method == "diarize" else _Embed
        given = model.model_validate_json(orjson.dumps(params), strict=True)
        short = isinstance(given, _Embed) or given.pcm.duration <= EXPRESS_SECONDS
        try:
            with scheduler.request(express=short, context=context) as request:
                if isinstance(given, _Diarize):
                    yield from _diarize(engine, request, given)
                else:
                    yield _embed(engine, request, given)
        except FileNotFoundError as error:
            # Whoever cancels a call takes its audio away at once, perhaps before this process has read of it.
            if context.cancelled:
                raise Cancelled("the call was cancelled") from error
            if given.pcm.path.exists():
                raise
            raise InternalError("the audio was taken away while it was read") from error

    def close(self) -> None:
        """Stop the work and close the engine."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._engine is not None:
            self._engine.close()


def _diarize(engine: DiarizationEngine, request: _Request, given: _Diarize) -> Iterator[Event]:
    """Yield the progress of a diarization, which is made in a thread of its own, and then the diarization."""
    shares: SimpleQueue[float | None] = SimpleQueue()

    def progress(share: float) -> None:
        _check_wanted(request)
        shares.put(float(share))

    def work() -> Diarization:
        with request.turn():
            return engine.diarize(PcmRecording(given.pcm), given.options, progress=progress)

    with ThreadPoolExecutor(1, thread_name_prefix="diarize") as thread:
        done = thread.submit(work)
        done.add_done_callback(lambda _: shares.put(None))
        try:
            yield from _progress(shares)
        finally:
            # For whoever stops to listen; the thread ends with the next step of the engine.
            request.close()
    found = done.result()
    data = {
        "turns": _turns(found.turns),
        "exclusive": _turns(found.exclusive),
        "embeddings": {str(number): vector.tolist() for number, vector in found.embeddings.items()},
    }
    yield Event("diarization", data)


def _progress(shares: SimpleQueue[float | None]) -> Iterator[Event]:
    """Yield shares as events, up to the None that ends them; they grow, and are at most 1."""
    told = 0.0
    while (share := shares.get()) is not None:
        if share > told:
            told = min(share, 1.0)
            yield Event("progress", {"share": told})


def _turns(turns: tuple[Turn, ...]) -> list[list[float]]:
    return [[float(turn.start), float(turn.end), int(turn.speaker)] for turn in turns]


def _embed(engine: DiarizationEngine, request: _Request, given: _Embed) -> Event:
    if not isinstance(engine, SpeakerEncoder):
        raise NotSupported("this model has no speaker embeddings")
    with request.turn():
        samples = _speech(engine, PcmRecording(given.pcm), request)[: round(VOICE_SECONDS * SAMPLE_RATE)]
        seconds, least = len(samples) / SAMPLE_RATE, engine.facts.min_seconds
        if seconds < least:
            raise InvalidAudio(
                f"there are {seconds:.2f} s of speech in the recording; whose voice it is takes {least:g} s to tell",
                param="file",
            )
        vector = engine.embed(samples)
    if not np.isfinite(vector).all():
        raise InvalidAudio("there is no voice in the recording", param="file")
    return Event("embedding", {"vector": vector.tolist(), "seconds": seconds})


def _speech(engine: SpeakerEncoder, recording: PcmRecording, request: _Request) -> Samples:
    """Return what is speech in a recording, joined."""
    found = engine.speech(recording, progress=lambda _: _check_wanted(request))
    places = [(round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)) for span in found]
    return np.concatenate([np.zeros(0, dtype=np.float32), *(recording.read(*place) for place in places)])


def _check_wanted(request: _Request) -> None:
    if request.closed:
        raise Cancelled("the call was cancelled")
