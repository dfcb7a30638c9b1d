"""Routes of long transcriptions: handed over once, worked on through any restart, fetched when they are done."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from asr.api.openai import SSE_HEADERS, request_body
from asr.api.reading import Asked, read_transcription
from asr.api.schemas import TranscriptionRequest
from asr.formats import FORMATS
from asr.jobs.job import Job, JobRequest, NewJob, Status
from asr.jobs.result import transcript
from asr.jobs.rows import to_segments
from asr.jobs.service import Jobs, JobService
from core import errors
from core.answers import ERROR_HEADER, MODEL_HEADER, JsonResponse, Stream, error_response, header_text
from core.auth import check_closed, owner_of
from core.pings import PING_SECONDS
from utils import sse
from utils.forms import Form

JOBS = "/audio/jobs"
MAX_KEY = 255
# Empty is absent.
_Limit = Annotated[int, BeforeValidator(lambda given: 20 if given == "" else given), Query(ge=1, le=100)]
_Status = Annotated[Status | None, BeforeValidator(lambda given: given or None)]
LOOK_SECONDS = 0.5
"""How often a stream of events looks whether there is something to tell."""


def router(service: JobService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["jobs"])
    jobs, ttl = service.jobs, service.settings.job_ttl_seconds

    @routes.post(
        JOBS,
        status_code=202,
        summary="Hand over a recording; it is transcribed whatever happens",
        openapi_extra={"requestBody": _request_body()},
    )
    async def submit(request: Request) -> Response:
        key = _idempotency_key(request)
        async with service.spool.folder() as folder:
            asked = await read_transcription(service, request, folder, response_format="json")
            new = _new_job(service, asked, owner=owner_of(request), key=key)
            job = await jobs.submit(new, asked.upload)
        return JsonResponse(job.to_dict(ttl=ttl), status_code=202, headers={"Location": f"{request.url.path}/{job.id}"})

    @routes.get(JOBS, summary="List your jobs, the newest first")
    async def listing(
        request: Request,
        limit: _Limit = 20,
        after: str | None = None,
        status: _Status = None,
    ) -> Response:
        _check_listing(service)
        found = await jobs.page(owner_of(request), limit=limit + 1, after=after or None, status=status)
        data = [job.to_dict(ttl=ttl) for job in found[:limit]]
        return JsonResponse({"object": "list", "data": data, "has_more": len(found) > limit})

    @routes.get(JOBS + "/{job_id}", summary="Show a job")
    async def show(request: Request, job_id: str) -> Response:
        job = await jobs.get(job_id, owner=owner_of(request))
        return JsonResponse(job.to_dict(ttl=ttl))

    @routes.get(JOBS + "/{job_id}/result", summary="Fetch the text of a finished job in any format")
    async def result(request: Request, job_id: str) -> Response:
        job, texts = await jobs.result(job_id, owner=owner_of(request))
        if job.error is not None:
            return _failure(job.error)
        if job.status == "cancelled":
            raise errors.JobNotFinished("the job was cancelled and has no result")
        if job.status != "completed":
            raise errors.JobNotFinished(f"the job is {job.status}; its result is there once it is completed")
        look = _look(job, request)
        body = await asyncio.to_thread(_written, job, texts, look)
        media_type = FORMATS[look.response_format].content_type
        return Response(body, media_type=media_type, headers={MODEL_HEADER: header_text(job.model)})

    @routes.get(JOBS + "/{job_id}/events", summary="Follow a job as server-sent events")
    async def events(request: Request, job_id: str) -> Response:
        job = await jobs.get(job_id, owner=owner_of(request))
        return Stream(_events(jobs, job, owner_of(request), ttl), media_type="text/event-stream", headers=SSE_HEADERS)

    @routes.delete(JOBS + "/{job_id}", summary="Cancel a job; one that has ended stays as it is")
    async def cancel(request: Request, job_id: str) -> Response:
        job = await jobs.cancel(job_id, owner=owner_of(request))
        return JsonResponse(job.to_dict(ttl=ttl))

    return routes


def _request_body() -> dict[str, Any]:
    body = request_body()
    for kind in ("multipart/form-data", "application/json"):
        body["content"][kind]["schema"]["properties"]["callback_url"] = {"type": "string", "format": "uri"}
    return body


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key", "").strip()
    if len(key) > MAX_KEY:
        raise errors.InvalidRequest(f"the Idempotency-Key has more than {MAX_KEY} characters", param="Idempotency-Key")
    return key or None


def _new_job(service: JobService, asked: Asked, *, owner: str, key: str | None) -> NewJob:
    """Return the job that a request asks for; raises what can be known before the work begins."""
    # What `stream` changes in the options is of no use to somebody who is not listening.
    wanted = asked.wanted.model_copy(update={"stream": False})
    options = wanted.options(service.settings)
    service.check(options, model=asked.model, sha256=asked.upload.sha256)
    callback = asked.form.scalar("callback_url")
    request = JobRequest(
        options=options,
        response_format=wanted.response_format,
        words=wanted.shows_words,
        logprobs=wanted.logprobs,
        layout=wanted.layout,
        audio_track=wanted.audio_track,
        raw_rate=asked.raw_rate,
        speakers=asked.speakers,
    )
    # References by what was sent: the vectors of the same voice need not be the same to the last digit.
    plain = replace(request, speakers=asked.speakers and replace(asked.speakers, known=()))
    known = [asked.wanted.known_speaker_names, _sha256s(asked.wanted.known_speaker_references)]
    same = [asked.upload.sha256, asked.model.id, asdict(plain), known if asked.speakers else None, callback]
    return NewJob(
        id=f"job_{uuid.uuid4().hex}",
        owner=owner,
        model=asked.model.id,
        request=request,
        fingerprint=hashlib.sha256(orjson.dumps(same)).hexdigest(),
        idempotency_key=key,
        callback_url=service.jobs.callbacks.check(callback) if callback else None,
    )


def _sha256s(texts: Sequence[str]) -> list[str]:
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def _check_listing(service: JobService) -> None:
    """Refuse where all callers are one to us: a list would show strangers' jobs; their ids cannot be guessed."""
    check_closed(service.settings, "jobs are not listed")


def _failure(error: errors.VoiceStackError) -> Response:
    """Return the answer for a job that has failed, which asking again does not change."""
    error.is_final = True
    response = error_response(error)
    # Not counted as one of this service: nothing is wrong now.
    del response.headers[ERROR_HEADER]
    return response


def _written(job: Job, texts: list[str], look: JobRequest) -> bytes:
    body: bytes = FORMATS[look.response_format].render(transcript(job, to_segments(texts), look))
    return body


def _look(job: Job, request: Request) -> JobRequest:
    """Return how a result is wanted written: as the query says, else as the job was submitted."""
    form = Form(fields=request.query_params.multi_items())
    asked = job.request
    wanted = TranscriptionRequest.from_form(form, response_format=asked.response_format)
    named = wanted.word_timestamps or bool(form.array("timestamp_granularities"))
    look = replace(
        asked,
        response_format=wanted.response_format,
        words=wanted.shows_words if named else asked.words,
        logprobs=wanted.logprobs or asked.logprobs,
        layout=wanted.layout or asked.layout,
    )
    if wanted.diarizes and asked.attribution is None:
        param = "diarize" if wanted.diarize else "response_format"
        raise errors.InvalidRequest("this job does not know who speaks; submit it with diarize=true", param=param)
    if not asked.options.word_timestamps and (look.words or look.layout):
        param = "timestamp_granularities" if look.words else "max_line_width"
        raise errors.InvalidRequest("this job has no word times; submit it with word_timestamps=true", param=param)
    if look.logprobs and not asked.options.logprobs:
        raise errors.InvalidRequest("this job has no logprobs; submit it with include[]=logprobs", param="include")
    return look


async def _events(jobs: Jobs, job: Job, owner: str, ttl: float) -> AsyncGenerator[bytes, None]:
    """Yield the job now and whenever it changes; the last event is named after how it ended."""
    told: dict[str, Any] = {}
    spoken = time.monotonic()
    try:
        while job.is_open:
            if (now := job.to_dict(ttl=ttl)) != told:
                yield _frame("progress", now)
                told, spoken = now, time.monotonic()
            elif time.monotonic() - spoken >= PING_SECONDS:
                yield sse.PING
                spoken = time.monotonic()
            if jobs.draining:
                raise errors.Draining("the service is shutting down; the job goes on after its next start")
            await asyncio.sleep(LOOK_SECONDS)
            job = await jobs.get(job.id, owner=owner)
    except errors.VoiceStackError as error:
        yield sse.event("error", {"type": "error", "error": error.to_dict()})
        return
    yield _frame(job.status, job.to_dict(ttl=ttl))
    yield sse.DONE


def _frame(name: str, job: dict[str, Any]) -> bytes:
    kind = f"audio.job.{name}"
    return sse.event(kind, {"type": kind, "job": job})
