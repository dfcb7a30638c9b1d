"""Who speaks when, without a transcript or with one, and the vector of a voice: LocalAI's and speaches' routes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from asr.api.bodies import raw_pcm_rate, read_body, the_file
from asr.api.diarization_requests import FORMATS, DiarizationRequest, EmbeddingRequest
from asr.api.fields import Fields
from asr.api.schemas import TranscriptionRequest
from asr.api.speakers import check_people, read_references
from asr.attributed import together
from asr.diarization.answer import diarization_object, shown_names, turn_texts
from asr.diarization.attribution import names_of
from asr.diarization.engine import Diarization
from asr.diarization.known import PARAM, KnownVoice, voices
from asr.diarization.rttm import rttm
from asr.listening import is_unsure, listen
from asr.service import AsrService
from asr.transcript import Segment
from core.answers import MODEL_HEADER, JsonResponse, header_text
from core.disconnect import until_disconnect
from core.heartbeat import with_heartbeat
from core.model_entry import ModelRef
from utils.audio.pcm import PcmFile
from utils.forms import Form, UploadedFile

SAMPLE_RATE: Final = 16_000
"""Hz of the samples in which the usage of an embedding is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for a diarization that was found valid, its recording in the request's folder, not decoded yet.

    `raw_rate` as in AsrService.decode. `text_model` writes what is said, None where no text is wanted.
    """

    wanted: DiarizationRequest
    upload: UploadedFile
    raw_rate: int | None
    model: ModelRef
    text_model: ModelRef | None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {MODEL_HEADER: header_text(self.model.id)}


def router(service: AsrService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["speakers"])

    @routes.post("/audio/diarization", summary="Tell who speaks when", openapi_extra=_schema(DiarizationRequest))
    async def diarization(request: Request) -> Response:
        return await _diarize(service, request)

    @routes.post(
        "/audio/speech/embedding", summary="Get the vector of a voice", openapi_extra=_schema(EmbeddingRequest)
    )
    async def embedding(request: Request) -> Response:
        return await _embed(service, request)

    return routes


def _schema(fields: type[Fields]) -> dict[str, Any]:
    properties = fields.model_json_schema()["properties"]
    if "response_format" in properties:
        properties["response_format"] = {"type": "string", "enum": list(FORMATS), "default": "json"}
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["file"], "properties": {"file": file, **properties}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


async def _form(service: AsrService, request: Request, folder: Path) -> Form:
    return await read_body(request, folder, max_mb=service.settings.max_upload_mb, parsers=service.parsers)


async def _diarize(service: AsrService, request: Request) -> Response:
    """Read, diarize and answer; the request's folder lives as long as the answer is being made."""
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(service.spool.folder())
        asked = await _asked(service, request, folder)
        decoding = _decoded(service, asked, folder)
        audio, known = await until_disconnect(request.receive, decoding)
        answering = _answer(service, asked, audio, known, stack.pop_all())
    kind = FORMATS[asked.wanted.response_format]
    return await with_heartbeat(
        answering,
        receive=request.receive,
        seconds=service.settings.heartbeat_seconds,
        blank=b" " if kind == "application/json" else b"\n",
        media_type=kind,
        headers=lambda: asked.headers,
    )


async def _asked(service: AsrService, request: Request, folder: Path) -> Asked:
    """Read a request and check all that can be checked before anything is decoded."""
    form = await _form(service, request, folder)
    wanted = DiarizationRequest.from_form(form)
    model = service.diarizer.resolve(wanted.model)
    service.diarizer.check(wanted.options, model)
    if wanted.known_speaker_references:
        service.diarizer.check_encodes(model, param=PARAM)
    upload = await the_file(form)
    asked = Asked(
        wanted=wanted,
        upload=upload,
        raw_rate=await raw_pcm_rate(form, upload),
        model=model,
        text_model=service.host.resolve(None) if wanted.shows_text else None,
    )
    # Last, as it may load the model.
    if wanted.identify_speakers:
        await until_disconnect(request.receive, check_people(service, model))
    return asked


async def _decoded(service: AsrService, asked: Asked, folder: Path) -> tuple[PcmFile, tuple[KnownVoice, ...]]:
    """Return the recording, and the voices of the speakers whom the request brings recordings of."""
    wanted = asked.wanted
    references = await read_references(service, wanted.known_speaker_references, folder)
    audio = await service.decode(
        asked.upload.path,
        folder,
        audio_track=wanted.audio_track,
        raw_rate=asked.raw_rate,
        channels=service.diarizer.channels(asked.model),
    )
    named = list(zip(wanted.known_speaker_names, references, strict=True))
    return audio, await voices(service.diarizer, named, asked.model)


async def _answer(
    service: AsrService, asked: Asked, audio: PcmFile, known: tuple[KnownVoice, ...], stack: AsyncExitStack
) -> Response:
    async with stack:
        diarizing = service.diarizer.diarize(audio, asked.wanted.options, model=asked.model, sha256=asked.upload.sha256)
        if asked.text_model is None:
            found, segments = await diarizing, None
        else:
            found, segments = await together(diarizing, _transcribe(service, asked, asked.text_model, audio))
        named = await names_of(
            service, found.embeddings, known, model=asked.model, identify=asked.wanted.identify_speakers
        )
        # Hours of turns and words: not on the event loop.
        body = await asyncio.to_thread(_body, asked, audio.duration, found, named, segments)
    return Response(body, media_type=FORMATS[asked.wanted.response_format], headers=asked.headers)


async def _transcribe(service: AsrService, asked: Asked, model: ModelRef, audio: PcmFile) -> tuple[Segment, ...]:
    options = TranscriptionRequest(language=asked.wanted.language, word_timestamps=True).options(service.settings)
    async with service.transcribe(audio, options, model=model, sha256=asked.upload.sha256) as transcript:
        await transcript.finish()
        return tuple(transcript.segments)


def _body(
    asked: Asked,
    duration: float,
    found: Diarization,
    named: Mapping[int, str],
    segments: tuple[Segment, ...] | None,
) -> bytes:
    names = shown_names(found, named)
    if asked.wanted.response_format == "rttm":
        return rttm(found.turns, names, recording=PurePath(asked.upload.filename).stem).encode()
    answer = diarization_object(
        found,
        duration=duration,
        names=names,
        texts=None if segments is None else turn_texts(found, segments),
        verbose=asked.wanted.response_format == "verbose_json",
    )
    return orjson.dumps(answer)


async def _embed(service: AsrService, request: Request) -> Response:
    """Answer with a list of one embedding, as OpenAI's route for texts does; its usage counts samples."""
    async with service.spool.folder() as folder:
        form = await _form(service, request, folder)
        model = service.diarizer.resolve(EmbeddingRequest.from_form(form).model)
        service.diarizer.check_encodes(model)
        upload = await the_file(form)
        rate = await raw_pcm_rate(form, upload)
        listening = listen(service, upload.path, folder, model=model, raw_rate=rate)
        voice = await until_disconnect(request.receive, listening)
    samples = round(voice.seconds * SAMPLE_RATE)
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": voice.vector}],
        "model": voice.facts.model,
        "low_confidence": is_unsure(voice),
        "usage": {"prompt_tokens": samples, "total_tokens": samples},
    }
    return JsonResponse(answer, headers={MODEL_HEADER: header_text(model.id)})
