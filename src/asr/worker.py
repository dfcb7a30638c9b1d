"""The ASR engine inside its worker process: files become windows or pieces, those segments, and segments events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, PositiveInt

from asr import piecewise, windowed
from asr.engine import MEASURED_SECONDS, AsrEngine, WindowEngine, WindowText, WindowWork
from asr.engine_factory import registry
from asr.pieces import EXPRESS_SECONDS, Piece, end_of_piece, file_gain, pieces, read_blocks
from asr.speech_spans import SpanOptions, speech_spans
from asr.speech_windows import listen, windows
from asr.transcript import LanguageGuess, TranscribeOptions, VadOptions
from asr.windowed import Parts
from asr.windows import WindowOptions, vote
from asr.windows import windows as places
from core.engine_loading import EngineConfig, load_engine
from core.errors import InternalError, UnsupportedParameter
from core.scheduler import Cancelled, Request, Scheduler
from core.worker import CallContext, Event, WorkerHandler
from utils import memory
from utils.audio import vad
from utils.audio.pcm import Audio, PcmFile, Samples

_MIN_AHEAD = 2
"""While one window of a transcription is decoded the next one is made ready, however many transcriptions there are."""

_METHODS = ("transcribe", "detect_language", "speech", "cut", "measure")
_Result: TypeAlias = WindowText | WindowWork
_Request: TypeAlias = Request[WindowWork, _Result]
_T = TypeVar("_T")


class _Params(BaseModel):
    """What a call is given: the decoded audio, and how to transcribe it or what else is to be told of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pcm: PcmFile
    options: TranscribeOptions = TranscribeOptions()
    windows: WindowOptions = WindowOptions()
    spans: SpanOptions = SpanOptions()


class _Measurement(BaseModel):
    """How many windows are decoded to see how long it takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    windows: PositiveInt


class AsrWorker(WorkerHandler):
    """Owns one engine, and the scheduler that shares it between the calls.

    `transcribe` yields `info` {language, language_probability, duration} once, `segment` (Segment) in order with
    ids from 0, and `progress` {seconds} after every window or piece. `detect_language` yields one `language`
    (LanguageGuess), `cut` one `cut` {seconds}: where the first chunk of the audio ends. `speech` yields `spans`
    [[start, end], ...] whenever some are found, in seconds and in order. `measure` yields one `measured` {seconds}: how
    long so many windows with MEASURED_SECONDS of speech each took.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._engine: AsrEngine | None = None
        self._scheduler: Scheduler[WindowWork, _Result] | None = None
        self._transcribing: set[_Request] = set()

    def load(self) -> dict[str, Any]:
        """Make and load the engine of the configuration; ConfigurationError says what is wrong with it."""
        config = EngineConfig.model_validate(dict(self.config))
        if issubclass(registry().get(config.engine), WindowEngine):
            memory.keep()  # every window needs about as much as the one before
        engine = self._engine = load_engine(registry(), config)
        self._scheduler = _scheduler(engine)
        return {
            "engine": self.config["engine"],
            "model": self.config["model_id"],
            "device": engine.context.device,
            "compute_type": getattr(engine, "compute_type", engine.context.compute_type),
            "languages": list(engine.languages),
            "streams": engine.streams,
            "library_features": list(engine.library_features),
            "slots": _slots(engine),
            "batch_size": _batch_size(engine),
        }

    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        """Do one of _METHODS.

        `transcribe` is given {pcm, options}, `detect_language` {pcm, windows}, `speech` {pcm, spans}, `cut` {pcm},
        `measure` {windows}.
        """
        engine, scheduler = self._engine, self._scheduler
        if method not in _METHODS or engine is None or scheduler is None:
            raise InternalError(f"the ASR worker cannot {method}")
        context = context or CallContext()
        if method == "measure":
            measurement = _Measurement.model_validate(params)
            with scheduler.request(context=context) as request:
                yield _measure(engine, request, measurement.windows)
            return
        given = _Params.model_validate_json(orjson.dumps(params), strict=True)
        try:
            if method == "cut":
                yield _cut(engine, given, context)
                return
            if method == "speech":
                yield from _speech(given, context)
                return
            short = method == "detect_language" or given.pcm.duration <= EXPRESS_SECONDS
            with scheduler.request(express=short, context=context) as request:
                if method == "detect_language":
                    yield _detect_language(engine, request, given, context)
                    return
                self._transcribing.add(request)
                try:
                    yield from _transcribe(engine, request, given, context, self._ahead)
                finally:
                    self._transcribing.discard(request)
        except FileNotFoundError as error:
            # Whoever cancels a call takes its audio away at once, perhaps before this process has read of it.
            if context.cancelled:
                raise Cancelled("the call was cancelled") from error
            if given.pcm.path.exists():
                raise
            raise InternalError("the audio was taken away while it was read") from error

    def _ahead(self) -> int:
        """Return how many windows of one transcription are ready or being made: all together fill the device twice."""
        assert self._engine is not None  # noqa: S101 - somebody transcribes
        windows_at_once = (_slots(self._engine) + 1) * _batch_size(self._engine)
        return max(windows_at_once // max(len(self._transcribing), 1), _MIN_AHEAD)

    def close(self) -> None:
        """Stop the work and close the engine."""
        if self._scheduler is not None:
            self._scheduler.close()
        if self._engine is not None:
            self._engine.close()


def _slots(engine: AsrEngine) -> int:
    return engine.slots if isinstance(engine, WindowEngine) else max(engine.context.workers, 1)


def _batch_size(engine: AsrEngine) -> int:
    return engine.batch_size if isinstance(engine, WindowEngine) else 1


def _scheduler(engine: AsrEngine) -> Scheduler[WindowWork, _Result]:
    if not isinstance(engine, WindowEngine):
        return Scheduler(slots=_slots(engine))
    spare = 1 if engine.context.device == "cpu" else 0
    return Scheduler(engine.decode, slots=engine.slots, batch=engine.batch_size, spare=spare, room=engine.room)


def _transcribe(
    engine: AsrEngine, request: _Request, params: _Params, context: CallContext, ahead: Callable[[], int]
) -> Iterator[Event]:
    pcm, options = params.pcm, params.options
    if options.logprobs and not engine.gives_logprobs:
        raise UnsupportedParameter("this model has no log-probabilities of its tokens", param="include")
    if isinstance(engine, WindowEngine):
        guess, parts = _by_windows(engine, request, params, context, ahead)
    else:
        guess, parts = _by_pieces(engine, request, params, context)
    count, done = 0, 0.0
    with closing(parts):
        yield _info(guess, pcm)
        for part in parts:
            for segment in part.segments:
                yield Event("segment", replace(segment, id=count))
                count += 1
            if part.done > done:
                done = part.done
                yield _progress(done)
    if done < pcm.duration:
        yield _progress(pcm.duration)


def _by_windows(
    engine: WindowEngine, request: _Request, params: _Params, context: CallContext, ahead: Callable[[], int]
) -> tuple[LanguageGuess, Parts]:
    pcm, options = params.pcm, params.options
    engine.check(options)

    def submit(work: WindowWork, *, first: bool = False) -> Future[_Result]:
        return request.submit(work, key=work.key, length=work.length, first=first)

    if pcm.duration > engine.window_seconds:
        # Only by its times is a text known to be all of what its window says; where windows are joined, more is missing
        # without them than is heard better.
        options = replace(options, timestamps=True)
    blocks = _heard(context, read_blocks(pcm, engine.sample_rate))
    if options.amplify:
        factor = _gain(pcm, context)
        blocks = (block * factor for block in blocks)
    speech = listen(blocks, options.vad, seconds=engine.window_seconds, early=options.early)
    return windowed.decode(engine, speech, options, submit=submit, ahead=ahead, working=context.working)


def _by_pieces(
    engine: AsrEngine, request: _Request, params: _Params, context: CallContext
) -> tuple[LanguageGuess, Parts]:
    pcm, options = params.pcm, params.options
    found = _working(context, pieces(pcm, sample_rate=engine.sample_rate, find_silence=vad.find_silence))
    if options.amplify:
        factor = _gain(pcm, context)
        found = (Piece(each.offset, Audio(each.audio.samples * factor, engine.sample_rate)) for each in found)
    return piecewise.decode(engine, found, options, turn=request.turn)


def _gain(pcm: PcmFile, context: CallContext) -> np.float32:
    with context.working():
        return np.float32(file_gain(pcm, heard=partial(_heard, context)))


def _working(context: CallContext, items: Iterator[_T]) -> Iterator[_T]:
    """Yield the items; while one is made the call is known to be at work, so that a crash is not another's."""
    while True:
        with context.working():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _heard(context: CallContext, blocks: Iterator[Samples]) -> Iterator[Samples]:
    """Yield the blocks while somebody waits for the text: hours of silence are read without asking the device."""
    for block in blocks:
        if context.cancelled:
            raise Cancelled("the call was cancelled")
        yield block


def _cut(engine: AsrEngine, params: _Params, context: CallContext) -> Event:
    with context.working():
        end = end_of_piece(params.pcm, 0, sample_rate=engine.sample_rate, find_silence=vad.find_silence)
    return Event("cut", {"seconds": end / params.pcm.sample_rate})


def _speech(params: _Params, context: CallContext) -> Iterator[Event]:
    blocks = _heard(context, read_blocks(params.pcm, vad.SAMPLE_RATE))
    for found in _working(context, speech_spans(params.pcm, blocks, params.spans)):
        if found:
            yield Event("spans", [(span.start, span.end) for span in found])


def _detect_language(engine: AsrEngine, request: _Request, params: _Params, context: CallContext) -> Event:
    def guess(audio: Audio) -> LanguageGuess:
        if isinstance(engine, WindowEngine):
            with context.working():
                window = next(windows([audio.samples], VadOptions()), None)
            if window is None:
                return LanguageGuess(None)
            audio = window.audio
        with request.turn():
            return engine.detect_language(audio)

    heard = _working(context, places(params.pcm, params.windows, sample_rate=engine.sample_rate))
    return Event("language", vote(map(guess, heard), params.windows.count))


def _measure(engine: AsrEngine, request: _Request, count: int) -> Event:
    batch = _batch_size(engine)

    def work(first: int) -> None:
        with request.turn():
            engine.measure(MEASURED_SECONDS, min(batch, count - first))

    started = time.perf_counter()
    with ThreadPoolExecutor(_slots(engine)) as threads:
        list(threads.map(work, range(0, count, batch)))
    return Event("measured", {"seconds": time.perf_counter() - started})


def _info(guess: LanguageGuess, pcm: PcmFile) -> Event:
    data = {"language": guess.language, "language_probability": guess.probability, "duration": pcm.duration}
    return Event("info", data)


def _progress(seconds: float) -> Event:
    return Event("progress", {"seconds": seconds})
