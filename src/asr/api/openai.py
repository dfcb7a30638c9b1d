"""OpenAI's transcription and translation routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from asr.api import events
from asr.api.reading import Asked, read_transcription
from asr.api.schemas import TranscriptionRequest
from asr.attributed import AnyTranscript, transcribe
from asr.formats import FORMATS
from asr.result import TranscriptResult
from asr.service import AsrService
from asr.transcript import Segment
from core.answers import MODEL_HEADER, Stream, header_text
from core.chains import Chain
from core.disconnect import until_disconnect
from core.heartbeat import with_heartbeat
from core.model_entry import ModelRef
from core.pings import with_pings

Work = Callable[[ModelRef], AbstractAsyncContextManager[AnyTranscript]]
SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def router(service: AsrService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["transcription"])
    schema = {"requestBody": request_body()}

    @routes.post("/audio/transcriptions", summary="Transcribe a recording", openapi_extra=schema)
    async def transcriptions(request: Request) -> Response:
        return await _answer(service, request, response_format="json")

    @routes.post("/audio/transcriptions/verbose", summary="Transcribe with all details", openapi_extra=schema)
    async def verbose(request: Request) -> Response:
        both = ["word", "segment"]
        return await _answer(service, request, response_format="verbose_json", timestamp_granularities=both)

    @routes.post("/audio/translations", summary="Translate a recording to English", openapi_extra=schema)
    async def translations(request: Request) -> Response:
        return await _answer(service, request, response_format="json", translate=True)

    return routes


def request_body() -> dict[str, Any]:
    """Describe the three kinds of body of a transcription request, for OpenAPI."""
    fields = TranscriptionRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = fields["properties"]
    properties["response_format"] = {"type": "string", "enum": list(FORMATS), "default": "json"}
    # The definition is used here only, and the document has no place of its own for it.
    choices = properties["chunking_strategy"]["anyOf"]
    properties["chunking_strategy"]["anyOf"] = [
        fields["$defs"]["ServerVad"] if "$ref" in choice else choice for choice in choices
    ]
    binary = {"type": "string", "format": "binary"}
    audio = {"type": "object", "properties": {"data": {"type": "string"}, "format": {"type": "string"}}}
    form = {"type": "object", "required": ["file"], "properties": {"file": binary, **properties}}
    json = {"type": "object", "required": ["input_audio"], "properties": {"input_audio": audio, **properties}}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": json}}
    return {"required": True, "content": {**content, "application/octet-stream": {"schema": binary}}}


async def _answer(service: AsrService, request: Request, **defaults: Any) -> Response:
    """Read, transcribe and answer; the request's folder lives as long as the answer is being made."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(service.spool.folder())
        asked = await read_transcription(service, request, folder, **defaults)
        wanted, upload = asked.wanted, asked.upload
        decoding = service.decode(
            upload.path,
            folder,
            audio_track=wanted.audio_track,
            raw_rate=asked.raw_rate,
            channels=asked.channels,
        )
        audio = await until_disconnect(request.receive, decoding)
        options = replace(wanted.options(service.settings), timestamps=wanted.shows_times)

        def work(model: ModelRef) -> AbstractAsyncContextManager[AnyTranscript]:
            return transcribe(
                service,
                audio,
                options,
                model=model,
                speakers=asked.speakers,
                naming=wanted.naming,
                sha256=upload.sha256,
            )

        chain = Chain(asked.models, service.host.resting)
        if wanted.stream:
            return await _stream(service, request, asked, chain, work=work, stack=stack)
        answering = _whole(asked, chain, work, stack.pop_all())
    kind = FORMATS[wanted.response_format].content_type
    return await with_heartbeat(
        answering,
        receive=request.receive,
        seconds=service.settings.heartbeat_seconds,
        blank=b" " if kind.startswith("application/json") else b"\n",
        media_type=kind,
        headers=lambda: _headers(chain.settle()),
    )


async def _whole(asked: Asked, chain: Chain, work: Work, stack: AsyncExitStack) -> Response:
    async def attempt(model: ModelRef) -> TranscriptResult:
        async with work(model) as transcript:
            await transcript.finish()
            return asked.result(transcript)

    async with stack:
        result = await chain.run(attempt)
    answer = FORMATS[asked.wanted.response_format]
    # An hour of words takes 40 ms to write: not on the event loop.
    body = await asyncio.to_thread(answer.render, result)
    return Response(body, media_type=answer.content_type, headers=_headers(chain.model))


async def _stream(
    service: AsrService,
    request: Request,
    asked: Asked,
    chain: Chain,
    *,
    work: Work,
    stack: AsyncExitStack,
) -> Response:
    """Answer with the first segment, or when a ping is due: what is refused before has its status, not a 200."""

    async def attempt(model: ModelRef) -> AsyncGenerator[bytes, None]:
        async with AsyncExitStack() as own:
            transcript = await until_disconnect(request.receive, own.enter_async_context(work(model)))
            found = await own.enter_async_context(aclosing(aiter(transcript)))
            segments = await own.enter_async_context(aclosing(with_pings(found)))
            first = await until_disconnect(request.receive, _first(segments))
            stack.push_async_exit(own.pop_all())
            return events.frames(asked, transcript, first, segments, service.metrics)

    frames = await chain.run(attempt)
    headers = {**SSE_HEADERS, **_headers(chain.settle())}
    return Stream(frames, media_type="text/event-stream", headers=headers, held=stack.pop_all())


async def _first(segments: events.Segments) -> Segment | None:
    return await anext(segments, None)


def _headers(model: ModelRef) -> dict[str, str]:
    return {MODEL_HEADER: header_text(model.id)}
