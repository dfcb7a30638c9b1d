"""OpenAI's speech route."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from core import errors
from core.disconnect import until_disconnect
from core.pings import with_pings
from core.server import MODEL_HEADER, Stream, header_text
from tts.api.schemas import SpeechRequest
from tts.encoded import EncodedSpeech
from tts.service import TtsService
from utils import sse
from utils.audio.encode import FORMATS
from utils.multipart import BodyTooLarge, MultipartError, read_form

MAX_BODY_BYTES = 16 << 20
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def router(service: TtsService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["speech"])
    schema = SpeechRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    schema["properties"]["voice"] = {"anyOf": [{"type": "string"}, {"type": "object"}], "default": None}
    schema["properties"]["response_format"] |= {"enum": list(FORMATS)}
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}

    @routes.post("/tts", include_in_schema=False)
    @routes.post("/audio/speech", summary="Speak a text", openapi_extra=body)
    async def speech(request: Request) -> Response:
        wanted = SpeechRequest.from_data(await _read_body(service, request), service.settings)
        return await _answer(service, request, wanted)

    return routes


async def _read_body(service: TtsService, request: Request) -> Any:
    """Return the decoded JSON or form body.

    Raises InvalidRequest for what cannot be decoded, FileTooLarge, UnsupportedMediaType.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        return await _read_fields(service, request)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise errors.UnsupportedMediaType("send the request as application/json")
    try:
        return orjson.loads(bytes(body).decode(json.detect_encoding(bytes(body))))
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest("the body is not valid JSON") from error


async def _read_fields(service: TtsService, request: Request) -> dict[str, str]:
    async with service.spool.folder() as folder:
        kind = request.headers["content-type"]
        try:
            return dict((await read_form(request.stream(), kind, folder, max_bytes=MAX_BODY_BYTES)).fields)
        except BodyTooLarge as error:
            raise _too_large() from error
        except MultipartError as error:
            raise errors.InvalidRequest(f"the form is malformed: {error}") from error


def _too_large() -> errors.FileTooLarge:
    return errors.FileTooLarge(f"the body is larger than {MAX_BODY_BYTES >> 20} MiB")


async def _answer(service: TtsService, request: Request, wanted: SpeechRequest) -> Response:
    """Start to speak and answer with the first bytes; what fails before them is an ordinary error."""
    model = service.host.resolve(wanted.model)
    await until_disconnect(request.receive, service.prepare(model))
    utterance = service.utterance(
        wanted.input,
        model,
        wanted.voice_name,
        wanted.options(),
        response_format=wanted.response_format,
        sample_rate=wanted.sample_rate,
    )
    async with AsyncExitStack() as stack:
        opening = stack.enter_async_context(EncodedSpeech.open(service, utterance, whole=not wanted.stream))
        encoded = await until_disconnect(request.receive, opening)
        headers = {
            **HEADERS,
            MODEL_HEADER: header_text(utterance.model.id),
            "x-voice-stack-voice": header_text(utterance.voice.id),
        }
        if wanted.stream_format == "sse":
            events = _sse(encoded, stack.pop_all())
            return Stream(events, media_type="text/event-stream", headers=headers)
        headers["Content-Disposition"] = f"attachment; filename=speech.{encoded.extension}"
        if wanted.stream:
            chunks = _chunks(encoded, stack.pop_all())
            return Stream(chunks, media_type=encoded.content_type, headers=headers)
        whole = await until_disconnect(request.receive, encoded.complete())
    return Response(whole, media_type=encoded.content_type, headers=headers)


async def _chunks(encoded: EncodedSpeech, stack: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    async with stack, aclosing(encoded.chunks()) as chunks:
        async for chunk in chunks:
            yield chunk


async def _sse(encoded: EncodedSpeech, stack: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of one stream as events, then the usage."""
    async with stack:
        try:
            async with aclosing(encoded.chunks()) as chunks, aclosing(with_pings(chunks)) as parts:
                async for chunk in parts:
                    if chunk is None:
                        yield sse.PING
                        continue
                    audio = base64.b64encode(chunk).decode("ascii")
                    yield sse.event("speech.audio.delta", {"type": "speech.audio.delta", "audio": audio})
        except errors.VoiceStackError as error:
            yield sse.event("error", {"type": "error", "error": error.to_dict()})
            return
        read, made = encoded.usage()
        usage = {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
        yield sse.event("speech.audio.done", {"type": "speech.audio.done", "usage": usage})
        yield sse.DONE
