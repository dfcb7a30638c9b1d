"""The ASR engine inside its worker process: files become pieces, pieces become segments, segments become events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from asr.engine import AsrEngine
from asr.engine_factory import registry
from asr.pieces import CHUNK_SEARCH_SECONDS, CHUNK_SECONDS, Piece, end_of_piece, pieces
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, shifted
from asr.windows import WindowOptions, vote, windows
from core.engine_loading import EngineConfig, load_engine
from core.errors import InternalError, UnsupportedParameter
from core.worker import Event, WorkerHandler
from utils import memory
from utils.audio import vad
from utils.audio.amplify import amplified
from utils.audio.pcm import PcmFile

log = logging.getLogger(__name__)
_TRIM_SECONDS = 60.0


class _Params(BaseModel):
    """What a call is given: the decoded audio and how to transcribe it, or where to listen for its language."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pcm: PcmFile
    options: TranscribeOptions = TranscribeOptions()
    windows: WindowOptions = WindowOptions()


class AsrWorker(WorkerHandler):
    """Owns one engine.

    `transcribe` yields `info` {language, language_probability, duration} once, `segment` (Segment) in order with
    ids from 0, and `progress` {seconds}. `detect_language` yields one `language` (LanguageGuess), `cut` one `cut`
    {seconds}: where the first chunk of the audio ends.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._engine: AsrEngine | None = None

    def load(self) -> dict[str, Any]:
        """Make and load the engine of the configuration; ConfigurationError says what is wrong with it."""
        engine = self._engine = load_engine(registry(), EngineConfig.model_validate(dict(self.config)))
        memory.trim()
        return {
            "engine": self.config["engine"],
            "model": self.config["model_id"],
            "device": engine.context.device,
            "compute_type": getattr(engine, "compute_type", engine.context.compute_type),
            "languages": list(engine.languages),
        }

    def call(self, method: str, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        """Do `transcribe` with params {pcm, options}, `detect_language` with {pcm, windows} or `cut` with {pcm}.

        `body` is not used.
        """
        del body
        methods: dict[str, Callable[[AsrEngine, _Params], Iterator[Event]]] = {
            "transcribe": _transcribe,
            "detect_language": _detect_language,
            "cut": _cut,
        }
        if method not in methods or self._engine is None:
            raise InternalError(f"the ASR worker cannot {method}")
        yield from methods[method](self._engine, _Params.model_validate_json(orjson.dumps(params), strict=True))

    def close(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()


def _pieces(engine: AsrEngine, pcm: PcmFile) -> Iterator[Piece]:
    return pieces(pcm, sample_rate=engine.sample_rate, find_silence=vad.find_silence)


def _transcribe(engine: AsrEngine, params: _Params) -> Iterator[Event]:
    pcm, options = params.pcm, params.options
    if options.logprobs and not engine.gives_logprobs:
        raise UnsupportedParameter("this model has no log-probabilities of its tokens", param="include")
    info: Event | None = None
    count = 0
    for piece in _pieces(engine, pcm):
        found = engine.transcribe(amplified(piece.audio) if options.amplify else piece.audio, options)
        if info is None and found.language is not None:
            info = _info(LanguageGuess(found.language, found.language_probability), pcm)
            yield info
            options = replace(options, language=found.language, early=False)
        with _closing(found.segments) as segments:
            for segment in segments:
                yield Event("segment", shifted(segment, count, piece.offset))
                count += 1
                if piece.audio.duration < pcm.duration:
                    yield _progress(piece.offset + segment.end)
        yield _progress(piece.offset + piece.audio.duration)
        del piece, found  # 60 MB that must not be there still when the next piece is read
    if info is None:
        yield _info(LanguageGuess(options.language, 1.0 if options.language else 0.0), pcm)
    if pcm.duration > _TRIM_SECONDS:
        memory.trim()


def _detect_language(engine: AsrEngine, params: _Params) -> Iterator[Event]:
    heard = windows(params.pcm, params.windows, sample_rate=engine.sample_rate)
    yield Event("language", vote(map(engine.detect_language, heard), params.windows.count))


def _cut(engine: AsrEngine, params: _Params) -> Iterator[Event]:
    end = end_of_piece(
        params.pcm,
        0,
        sample_rate=engine.sample_rate,
        find_silence=vad.find_silence,
        seconds=CHUNK_SECONDS,
        search_seconds=CHUNK_SEARCH_SECONDS,
    )
    yield Event("cut", {"seconds": end / params.pcm.sample_rate})


@contextmanager
def _closing(segments: Iterator[Segment]) -> Iterator[Iterator[Segment]]:
    """Close the engine's generator at once, and not when it is collected: that is what ends its work."""
    try:
        yield segments
    finally:
        close = getattr(segments, "close", None)
        if close is not None:
            close()


def _info(guess: LanguageGuess, pcm: PcmFile) -> Event:
    data = {"language": guess.language, "language_probability": guess.probability, "duration": pcm.duration}
    return Event("info", data)


def _progress(seconds: float) -> Event:
    return Event("progress", {"seconds": seconds})
