"""What a TTS worker process runs: one engine, and texts turned into samples piece by piece."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

from pydantic import BaseModel, Field, TypeAdapter

from core.engine_loading import EngineConfig, load_engine
from core.errors import InternalError, InvalidRequest, NotSupported, UnsupportedParameter
from core.scheduler import Scheduler
from core.worker import CallContext, Event, WorkerHandler
from tts import engine_factory, language
from tts.engine import TtsEngine
from tts.pace import Rate
from tts.pieces import Pieces
from tts.reference import References, stamp
from tts.synthesis import Job, Speaker
from tts.utterances import MAX_CHARS, Key, Utterances, size_of
from tts.voice import SpeechOptions, Voice
from utils.text import normalize

log = logging.getLogger(__name__)
_VOICE = TypeAdapter(Voice)


class WorkerConfig(EngineConfig):
    """The configuration that the API process hands over."""

    max_chars: int = 180
    auto_lang: bool = True
    utterance_cache_mb: float = Field(default=32.0, ge=0)


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
    """Runs `synthesize` calls, whose pieces take turns at the engine, and `forget` calls beside them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._config = WorkerConfig.model_validate(dict(config))
        self._engine: TtsEngine | None = None
        self._references = References()
        self._utterances = Utterances(int(self._config.utterance_cache_mb * (1 << 20)))
        self._rate = Rate()
        self._scheduler: Scheduler[None, None] = Scheduler(slots=1)

    def load(self) -> dict[str, Any]:
        """Load the engine and tell what it can do."""
        engine = self._engine = load_engine(engine_factory.registry(), self._config)
        self._scheduler = Scheduler(slots=engine.slots)
        if self._config.auto_lang:
            language.warm_up(engine.languages)
        if engine.first_chars:
            self._time(engine)
        return self._facts(engine, engine.context.device)

    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        """Speak: a `start` event at once, then an `audio` event with signed 16-bit PCM for every chunk.

        The other method, `forget`, drops what was made of the recording of a `voice`.
        """
        if method == "forget":
            voice = _VOICE.validate_python(params["voice"])
            self._utterances.forget(voice)
            self._references.forget(self._loaded(), voice)
            return iter(())
        if method != "synthesize":
            raise NotSupported(f"a TTS worker has no method {method!r}")
        engine = self._loaded()
        request = Request.model_validate(dict(params))
        key = self._key(request)
        known = key and self._utterances.get(key)
        if known:
            return iter(known)
        events = self._speak(engine, self._prepare(engine, request), context)
        return self._remembered(key, events) if key else events

    def close(self) -> None:
        """Free the engine."""
        self._scheduler.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _time(self, engine: TtsEngine) -> None:
        """Find out how fast the engine speaks, with a text that is read in any language."""
        for voice in engine.voices()[:1]:
            started = time.monotonic()
            seconds = sum(chunk.duration for chunk in engine.synthesize("1 2 3 4 5.", voice, SpeechOptions()))
            if seconds:
                self._rate.add(time.monotonic() - started, seconds)

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
        if not normalize.has_speech(text):
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
            pieces=Pieces(
                text,
                longest=min(self._config.max_chars, engine.max_chars - 1),
                first_chars=engine.first_chars,
                apart=request.pause is not None,
            ),
            voice=request.voice,
            options=options,
            sample_rate=request.sample_rate or engine.sample_rate,
            tempo=request.options.speed / speed,
            volume=request.volume,
            pause=request.pause,
        )
        job.check()
        engine.check(text, request.voice, options)
        return job

    def _language(self, engine: TtsEngine, text: str, request: Request) -> str | None:
        known = [language.primary(tag) for tag in engine.languages]
        asked, own = request.options.language, request.voice.language
        automatic = self._config.auto_lang
        found = language.choose(text, requested=asked, voice=own, candidates=known, automatic=automatic)
        if found and known and language.primary(found) not in known:
            param = "language" if asked else "input"
            raise InvalidRequest(f"this model does not speak {found}; it speaks {', '.join(known)}", param=param)
        spoken = [language.primary(own)] if own else known
        if asked and not engine.takes_language and spoken != [language.primary(asked)]:
            raise UnsupportedParameter("this model cannot be told which language to speak", param="language")
        return found

    def _speak(self, engine: TtsEngine, job: Job, context: CallContext | None) -> Generator[Event, None, None]:
        start = {
            "sample_rate": job.sample_rate,
            "tempo": job.tempo,
            "language": job.options.language,
            # A WAV of a short text is sent with its true size, which is known when all of it is spoken.
            "short": job.pieces.short,
            "times_words": engine.times_words,
        }
        yield Event("start", start)
        with (
            # What somebody waits for without hearing anything goes before what others already listen to.
            self._scheduler.request(express=True, context=context) as first,
            self._scheduler.request(context=context) as later,
            ExitStack() as stack,
        ):
            requests = chain([first], repeat(later))
            todo = []
            if job.voice.type == "cloned":
                todo.append(stack.enter_context(self._references.using(engine, job.voice)))

            @contextmanager
            def turn() -> Iterator[None]:
                with next(requests).turn():
                    # In the turn of the first piece: nobody gets in between.
                    while todo:
                        todo.pop()()
                    yield

            speaker = Speaker(engine, job, rate=self._rate, turn=turn, waiting=lambda: self._scheduler.waiting)
            yield from speaker.events()

    def _key(self, request: Request) -> Key | None:
        """Return what an answer is remembered by, None for one that is not."""
        voice = request.voice
        recording = stamp(voice) if voice.type == "cloned" else ()
        if not self._utterances.limit or len(request.text) > MAX_CHARS or voice.one_shot or recording is None:
            return None
        how = (request.sample_rate, request.volume, request.pause, request.normalize, request.timestamps)
        return Key(text=request.text, voice=voice, options=request.options, recording=recording, delivery=how)

    def _remembered(self, key: Key, events: Generator[Event, None, None]) -> Iterator[Event]:
        edition = self._utterances.edition
        found: list[Event] | None = []
        size = 0
        with closing(events):
            for event in events:
                size += size_of([event])
                # One answer that takes the room of many is not worth it; nor the memory until it is all said.
                if size > self._utterances.limit // 4:
                    found = None
                if found is not None:
                    found.append(event)
                yield event
        if found is not None:
            self._utterances.keep(key, found, edition=edition)


def _readable(request: Request) -> str:
    if not request.normalize:
        return normalize.as_written(request.text)
    return normalize.with_short_urls(normalize.for_speech(request.text))
