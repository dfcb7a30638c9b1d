"""What a TTS worker process runs: one engine, and texts turned into samples piece by piece."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from core.engine_loading import EngineConfig, load_engine
from core.errors import InternalError, InvalidRequest, NotSupported
from core.worker import Event, WorkerHandler
from tts import engine_factory, language, pieces
from tts.engine import TtsEngine
from tts.reference import References
from tts.synthesis import Job, speak
from tts.voice import SpeechOptions, Voice
from utils.text import normalize

log = logging.getLogger(__name__)
_VOICE = TypeAdapter(Voice)


class WorkerConfig(EngineConfig):
    """The configuration that the API process hands over."""

    max_chars: int = 180
    auto_lang: bool = True


class Request(BaseModel):
    """The parameters of a call: what to say and how, the output rate in Hz (None: the engine's).

    The speed in `options` may be one that the engine cannot speak at.

    `pause` is the silence between sentences in seconds, None the engine's own; `normalize` takes Markdown, emoji and
    the tails of web addresses away; `timestamps` asks an engine that knows them for the times of the words.
    """

    text: str
    voice: Voice
    options: SpeechOptions = SpeechOptions()
    sample_rate: int | None = None
    volume: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    pause: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    normalize: bool = True
    timestamps: bool = False


class TtsWorker(WorkerHandler):
    """Runs `synthesize` calls, one at a time, and `forget` calls beside them."""

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
        """Speak: a `start` event at once, then an `audio` event with signed 16-bit PCM for every chunk.

        The other method, `forget`, drops what was made of the recording of a `voice`.
        """
        del body
        if method == "forget":
            self._references.forget(self._loaded(), _VOICE.validate_python(params["voice"]))
            return iter(())
        if method != "synthesize":
            raise NotSupported(f"a TTS worker has no method {method!r}")
        engine = self._loaded()
        request = Request.model_validate(dict(params))
        job = self._prepare(engine, request)
        # A WAV of one sentence is sent with its true size, which is known when all of it is spoken.
        short = len(pieces.by_sentence(_readable(request))) == 1
        return self._speak(engine, job, short=short)

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
            "can_mix": engine.can_mix,
            "times_words": engine.times_words,
            "languages": list(engine.languages),
            "voices": [replace(voice, model=model_id) for voice in engine.voices()],
        }

    def _loaded(self) -> TtsEngine:
        if self._engine is None:
            raise InternalError("the engine is not loaded")
        return self._engine

    def _prepare(self, engine: TtsEngine, request: Request) -> Job:
        """Return the job of a request; InvalidRequest for a text with nothing to say or that the model cannot speak."""
        text = _readable(request)
        cut, ends = self._cut(engine, text, request.pause)
        if not cut:
            raise InvalidRequest("the input has nothing that can be spoken", param="input")
        low, high = engine.speed_range
        speed = min(max(request.options.speed, low), high)
        options = replace(
            request.options,
            speed=speed,
            language=self._language(engine, text, request),
            timestamps=request.timestamps and engine.times_words,
        )
        if options.instructions is not None and not engine.takes_instructions:
            log.debug("the engine takes no instructions; they are left out")
            options = replace(options, instructions=None)
        job = Job(
            pieces=cut,
            voice=request.voice,
            options=options,
            sample_rate=request.sample_rate or engine.sample_rate,
            tempo=request.options.speed / speed,
            volume=request.volume,
            pause=request.pause,
            sentence_ends=ends,
        )
        job.check()
        engine.check(text, request.voice, options)
        return job

    def _cut(self, engine: TtsEngine, text: str, pause: float | None) -> tuple[list[str], frozenset[int]]:
        """Return the pieces, and which of them end a sentence, where it matters because a pause comes behind it."""
        longest = min(self._config.max_chars, engine.max_chars)
        if pause is None:
            return pieces.cut(text, max_chars=longest, first_chars=engine.first_chars), frozenset()
        found: list[str] = []
        ends = []
        for sentence in pieces.by_sentence(text):
            found += pieces.cut(sentence, max_chars=longest, first_chars=None)
            ends.append(len(found) - 1)
        return found, frozenset(ends)

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

    def _speak(self, engine: TtsEngine, job: Job, *, short: bool) -> Iterator[Event]:
        start = {
            "sample_rate": job.sample_rate,
            "tempo": job.tempo,
            "language": job.options.language,
            "pieces": len(job.pieces),
            "short": short,
            "times_words": engine.times_words,
        }
        yield Event("start", start)
        cloned = job.voice.type == "cloned"
        with self._references.prepared(engine, job.voice) if cloned else nullcontext():
            yield from speak(engine, job)


def _readable(request: Request) -> str:
    if not request.normalize:
        return normalize.as_written(request.text)
    return normalize.with_short_urls(normalize.for_speech(request.text))
