"""OpenAI's speech route."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict
from itertools import islice
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from core import errors
from core.answers import MODEL_HEADER, Stream, header_text
from core.chains import Chain
from core.disconnect import until_disconnect
from core.metrics import Metrics
from core.model_entry import ModelRef
from core.pings import with_pings
from tts.api.bodies import REFERENCE_FIELDS, Body, read_body, reference_file
from tts.api.new_voice import log_attestations
from tts.api.schemas import SpeechRequest
from tts.backlog import Backlog, backlog
from tts.consents import Consents
from tts.encoded import EncodedSpeech
from tts.samples import read_sample
from tts.service import TtsService
from tts.speech import Utterance
from tts.voice import Voice
from utils import sse
from utils.audio.encode import FORMATS

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_WORDS_AT_ONCE = 1000


def router(service: TtsService, consents: Consents) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["speech"])

    @routes.post("/tts", include_in_schema=False)
    @routes.post("/audio/speech", summary="Speak a text", openapi_extra={"requestBody": _described()})
    async def speech(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            body = await read_body(request, service.spool, stack)
            wanted = SpeechRequest.from_data(body.data, service.settings)
            models = service.host.chain(wanted.model)
            voice: Voice | str | None = wanted.voice_name
            if body.reference is not None or wanted.reference_audio:
                models = service.cloning_models(models)
                policy = service.settings.voice_consent
                await asyncio.to_thread(consents.asked_for, wanted.consent, policy=policy)
                voice = await until_disconnect(request.receive, _reference(service, wanted, body, stack))

            chain = Chain(models, service.host.resting)

            async def attempt(model: ModelRef) -> Response:
                async with AsyncExitStack() as own:
                    # Some models tell their voices only when they are loaded.
                    await until_disconnect(request.receive, service.prepare(model))
                    named = voice if model == models[0] else service.stand_in_voice(model, voice, wanted.language)
                    utterance = service.utterance(wanted.input, model, named, wanted.options(), wanted.delivery())
                    chain.model = utterance.model
                    return await _answer(service, request, wanted, utterance, own=own, stack=stack)

            return await chain.run(attempt)

    return routes


def _described() -> dict[str, Any]:
    """Return the request body for the OpenAPI document."""
    schema = SpeechRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    schema["properties"]["voice"] = {"anyOf": [{"type": "string"}, {"type": "object"}], "default": None}
    schema["properties"]["response_format"] |= {"enum": list(FORMATS)}
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
    return {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}


async def _reference(service: TtsService, wanted: SpeechRequest, body: Body, stack: AsyncExitStack) -> Voice:
    """Return the voice of the recording a request brings; it lives as long as `stack`."""
    log_attestations("one-shot voice", wanted.attestations)
    source = body.reference or await reference_file(wanted.reference_audio or "", service.spool, stack)
    sample = await read_sample(source, source.with_name("reference.wav"), param=REFERENCE_FIELDS[0])
    name = f"reference-{secrets.token_hex(8)}"
    return Voice(
        id=name,
        name=name,
        language=wanted.language,
        type="cloned",
        sample=sample.path,
        transcript=wanted.reference_text,
        one_shot=True,
    )


async def _answer(
    service: TtsService,
    request: Request,
    wanted: SpeechRequest,
    utterance: Utterance,
    *,
    own: AsyncExitStack,
    stack: AsyncExitStack,
) -> Response:
    """Start to speak and answer with the first bytes; what fails before them is an ordinary error.

    What it opens goes into `own`; the answer holds that, and what the request has in `stack`.
    """
    in_json = utterance.delivery.timestamps and wanted.stream_format == "audio"
    opening = own.enter_async_context(EncodedSpeech.open(service, utterance, whole=in_json or not wanted.stream))
    encoded = await until_disconnect(request.receive, opening)
    headers = {
        **HEADERS,
        MODEL_HEADER: header_text(utterance.model.id),
        "x-voice-stack-voice": header_text(utterance.voice.id),
    }
    if wanted.stream_format == "sse":
        frames = _sse(encoded, service.metrics)
        return Stream(frames, media_type="text/event-stream", headers=headers, held=_held(own, stack))
    if in_json:
        return Stream(_with_words(encoded), media_type="application/json", headers=headers, held=_held(own, stack))
    headers["Content-Disposition"] = f"attachment; filename=speech.{encoded.extension}"
    made: EncodedSpeech | Backlog = encoded
    length = encoded.length
    if not wanted.stream and length is None:
        made = await own.enter_async_context(backlog(encoded.chunks(), service.spool.path))
        await until_disconnect(request.receive, made.complete())
        length = made.total
    if length is not None:
        headers["Content-Length"] = str(length)
    return Stream(_chunks(made), media_type=encoded.content_type, headers=headers, held=_held(own, stack))


def _held(own: AsyncExitStack, stack: AsyncExitStack) -> AsyncExitStack:
    """Return both, of which `own` is closed first."""
    stack.push_async_exit(own.pop_all())
    return stack.pop_all()


async def _with_words(encoded: EncodedSpeech) -> AsyncGenerator[bytes, None]:
    """Yield one JSON object with the sound in base64 and the words, whose length costs no memory."""
    yield b'{"audio":"'
    rest = b""
    async with aclosing(encoded.chunks()) as chunks:
        async for chunk in chunks:
            # Groups of three bytes can be written on their own.
            data = rest + chunk
            whole = len(data) - len(data) % 3
            rest = data[whole:]
            yield base64.b64encode(data[:whole])
    about = orjson.dumps({"format": encoded.response_format, "sample_rate": encoded.sample_rate})
    yield base64.b64encode(rest) + b'",' + about[1:-1] + b',"words":['
    words, comma = encoded.new_words(), b""
    while some := [asdict(word) for word in islice(words, _WORDS_AT_ONCE)]:
        yield comma + orjson.dumps(some)[1:-1]
        comma = b","
    yield b"]}"


async def _chunks(made: EncodedSpeech | Backlog) -> AsyncGenerator[bytes, None]:
    async with aclosing(made.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk


async def _sse(encoded: EncodedSpeech, metrics: Metrics) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of one stream as events and the words in between as they are known, then the usage."""
    try:
        async with aclosing(encoded.chunks()) as chunks, aclosing(with_pings(chunks)) as parts:
            async for chunk in parts:
                if chunk is None:
                    yield sse.PING
                    continue
                audio = base64.b64encode(chunk).decode("ascii")
                yield sse.event("speech.audio.delta", {"type": "speech.audio.delta", "audio": audio})
                for word in _word_events(encoded):
                    yield word
    except errors.VoiceStackError as error:
        metrics.count_error(error.code)
        yield sse.event("error", {"type": "error", "error": error.to_dict()})
        return
    for word in _word_events(encoded):
        yield word
    read, made = encoded.usage()
    usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
    yield sse.event("speech.audio.done", {"type": "speech.audio.done", "usage": usage})
    yield sse.DONE


def _word_events(encoded: EncodedSpeech) -> Iterator[bytes]:
    for word in encoded.new_words():
        yield sse.event("speech.word", {"type": "speech.word", **asdict(word)})
