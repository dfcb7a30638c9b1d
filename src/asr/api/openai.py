"""OpenAI's transcription and translation routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from asr.api.schemas import TranscriptionRequest
from asr.api.uploads import read_request, the_file
from asr.formats import FORMATS, segment_objects
from asr.result import TranscriptResult
from asr.service import AsrService, Transcript
from asr.transcript import Task
from core import errors
from core.disconnect import until_disconnect
from core.pings import with_pings
from core.server import MODEL_HEADER, Stream, header_text
from utils import sse

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
TRANSLATION_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


@dataclass(frozen=True, slots=True)
class Job:
    """How a transcript is wanted written."""

    wanted: TranscriptionRequest
    task: Task

    def result(self, transcript: Transcript) -> TranscriptResult:
        """Return a finished transcript for the formats."""
        return transcript.result(self.task, words=self.wanted.shows_words, layout=self.wanted.layout)


def router(service: AsrService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["transcription"])
    schema = {"requestBody": _request_body()}

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


def _request_body() -> dict[str, Any]:
    fields = TranscriptionRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = {"file": {"type": "string", "format": "binary"}, **fields["properties"]}
    properties["response_format"] = {"type": "string", "enum": list(FORMATS), "default": "json"}
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


async def _answer(service: AsrService, request: Request, **defaults: Any) -> Response:
    """Read, transcribe and answer; the request's folder lives as long as the answer is being made."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(service.spool.folder())
        form = await read_request(request, folder, max_mb=service.settings.max_upload_mb)
        wanted = TranscriptionRequest.from_form(form, **defaults)
        if wanted.translate and wanted.response_format not in TRANSLATION_FORMATS:
            raise errors.UnsupportedFormat(
                f"translations come as one of: {', '.join(TRANSLATION_FORMATS)}", param="response_format"
            )
        upload = the_file(form)
        model = service.host.resolve(wanted.model)
        decoding = service.decode(upload.path, folder, audio_track=wanted.audio_track)
        audio = await until_disconnect(request.receive, decoding)
        job = Job(wanted=wanted, task="translate" if wanted.translate else wanted.task)
        options = wanted.options(service.settings)
        work = service.transcribe(audio, options, model=model, sha256=upload.sha256)
        if wanted.stream:
            # Begun before the answer: what is refused here is refused with its status, not inside a 200.
            transcript = await until_disconnect(request.receive, stack.enter_async_context(work))
            headers = {**SSE_HEADERS, MODEL_HEADER: header_text(model.id)}
            return Stream(_events(transcript, job, stack.pop_all()), media_type="text/event-stream", headers=headers)
        result = await until_disconnect(request.receive, _finish(work, job))
    answer = FORMATS[wanted.response_format]
    # An hour of words takes 40 ms to write: not on the event loop.
    body = await asyncio.to_thread(answer.render, result)
    return Response(body, media_type=answer.content_type, headers={MODEL_HEADER: header_text(model.id)})


async def _finish(work: AbstractAsyncContextManager[Transcript], job: Job) -> TranscriptResult:
    async with work as transcript:
        await transcript.finish()
        return job.result(transcript)


async def _events(transcript: Transcript, job: Job, stack: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    """Yield the SSE frames of a streamed transcription; deltas leave as segments are decoded."""
    deltas: list[str] = []
    try:
        async with stack, aclosing(with_pings(aiter(transcript))) as segments:
            async for segment in segments:
                if segment is None:
                    yield sse.PING
                    continue
                delta = segment.text if deltas else segment.text.lstrip()
                deltas.append(delta)
                yield _frame({"type": "transcript.text.delta", "delta": delta})
                yield sse.comment(f"progress {segment.end / transcript.duration:.3f}")
        yield await asyncio.to_thread(_done, job.result(transcript), "".join(deltas))
    except errors.VoiceStackError as error:
        yield _frame({"type": "error", "error": error.to_dict()})
        return
    yield sse.DONE


def _done(result: TranscriptResult, text: str) -> bytes:
    """Return the last frame; for long audio this takes too long for the event loop."""
    output = sum(len(segment.tokens) for segment in result.segments)
    # Whisper's encoder reads 50 positions a second.
    spoken = round(result.duration * 50)
    usage = {"type": "tokens", "input_tokens": spoken, "output_tokens": output, "total_tokens": spoken + output}
    done = {
        "type": "transcript.text.done",
        "text": text,
        "usage": usage,
        "language": result.language,
        "language_probability": result.language_probability,
        "duration": result.duration,
        "segments": segment_objects(result),
    }
    return _frame(done)


def _frame(data: dict[str, Any]) -> bytes:
    return sse.event(str(data["type"]), data)
