"""The routes of whisper-asr-webservice, as Bazarr, Subgen's users and Speakr call them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from asr.api import bazarr_requests
from asr.api.bazarr_requests import AsrFields, DetectFields, Recording
from asr.api.schemas import TranscriptionRequest
from asr.api.speakers import read_speakers
from asr.attributed import AnyTranscript, AttributedTranscript, transcribe
from asr.diarization.attribution import SpeakersAsked
from asr.formats import FORMATS, segment_objects
from asr.result import TranscriptResult
from asr.service import AsrService
from asr.transcript import LanguageGuess, TranscribeOptions
from asr.windows import WindowOptions
from core import errors
from core.answers import MODEL_HEADER, JsonResponse, header_text
from core.chains import Chain
from core.disconnect import until_disconnect
from core.heartbeat import with_heartbeat
from core.model_entry import ModelRef
from core.schemas import model_dict
from utils import languages
from utils.audio.pcm import PcmFile
from utils.forms import UploadedFile

Embeddings = Mapping[str, Sequence[float]]
HEAD_SECONDS = 600.0
"""So much of a compressed file is decoded to tell its language."""
_TEXT = "text/plain; charset=utf-8"


def router(service: AsrService) -> APIRouter:
    """Return the routes; their clients are given an address with or without /bazarr at its end."""
    routes = APIRouter(tags=["bazarr"])
    asr_schema = _schema(bazarr_requests.asr_parameters())
    detect_schema = _schema(bazarr_requests.detect_parameters())

    @routes.post("/bazarr/asr", include_in_schema=False)
    @routes.post("/asr", summary="Transcribe as whisper-asr-webservice does", openapi_extra=asr_schema)
    async def asr(request: Request) -> Response:
        async with service.spool.folder() as folder:
            return await _asr(service, request, folder)

    @routes.post("/bazarr/detect-language", include_in_schema=False)
    @routes.post("/detect-language", summary="Tell which language is spoken", openapi_extra=detect_schema)
    async def detect_language(request: Request) -> Response:
        async with service.spool.folder() as folder:
            return await _detect_language(service, request, folder)

    @routes.get("/bazarr/asr", include_in_schema=False)
    @routes.get("/asr", summary="Say how to use it", response_class=PlainTextResponse)
    async def about_asr() -> Response:
        return PlainTextResponse("Send a recording here by POST, as the file audio_file of a form.\n")

    @routes.get("/bazarr/detect-language", include_in_schema=False)
    @routes.get("/detect-language", summary="Say how to use it", response_class=PlainTextResponse)
    async def about_detect_language() -> Response:
        return PlainTextResponse("Send a recording here by POST to be told its language.\n")

    @routes.get("/bazarr/status", include_in_schema=False)
    @routes.get("/status", summary="Name the software and its version, which Bazarr shows when it tests an address")
    async def status() -> Response:
        health = service.health()
        version = f"voice-stack {health['version']}, {health['model']}"
        return JsonResponse({"version": version, "status": "ok", "ready": service.ready})

    @routes.get("/bazarr/models", include_in_schema=False)
    async def models() -> Response:
        hosts = (service.host, service.diarizer.host)
        found = [model_dict(model, host) for host in hosts for model in host.installed()]
        return JsonResponse({"object": "list", "data": found})

    return routes


def _schema(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["audio_file"], "properties": {"audio_file": file}}
    body = {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    return {"parameters": parameters, "requestBody": body}


async def _asr(service: AsrService, request: Request, folder: Path) -> Response:
    form = await bazarr_requests.read(service, request, folder)
    fields = AsrFields.from_form(form)
    wanted = bazarr_requests.transcription(form, fields)
    recording = await bazarr_requests.recording(form, fields)
    upload, chain = recording.upload, Chain(service.host.chain(wanted.model), service.host.resting)
    speakers = await read_speakers(service, wanted, folder, request.receive)
    audio = None
    if not recording.empty:
        decoding = service.decode(
            upload.path,
            folder,
            audio_track=wanted.audio_track,
            raw_rate=recording.raw_rate,
            channels=speakers.channels if speakers else 1,
        )
        audio = await until_disconnect(request.receive, decoding)
    answer = _Answer(service, fields, wanted, upload, chain, speakers)
    return await with_heartbeat(
        answer.made(audio),
        receive=request.receive,
        seconds=service.settings.heartbeat_seconds,
        blank=b" " if fields.output == "json" else b"\n",
        media_type=answer.media_type,
        headers=lambda: answer.headers(chain.settle()),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to one request to /asr."""

    service: AsrService
    fields: AsrFields
    wanted: TranscriptionRequest
    upload: UploadedFile
    chain: Chain
    speakers: SpeakersAsked | None

    @property
    def media_type(self) -> str:
        return "application/json" if self.fields.output == "json" else _TEXT

    def headers(self, model: ModelRef) -> dict[str, str]:
        name = quote(self.upload.filename or "audio", safe="")
        return {
            MODEL_HEADER: header_text(model.id),
            "Asr-Engine": header_text(model.engine.replace("-", "_")),
            "Content-Disposition": f'attachment; filename="{name}.{self.fields.output}"',
        }

    async def made(self, audio: PcmFile | None) -> Response:
        """Return the answer; None is a recording without samples, in which nobody speaks."""
        options = self.wanted.options(self.service.settings)
        result = TranscriptResult(segments=(), duration=0.0, task=options.task, language=options.language)
        embeddings: Embeddings | None = {} if self._tells_embeddings else None
        if audio is not None:
            result, embeddings = await self._heard(audio, options)
        body = await asyncio.to_thread(_written, result, self.fields.output, embeddings)
        if not body and self.fields.output == "srt" and self.service.settings.empty_subtitle == "blank":
            body = b"\n"
        return Response(body, media_type=self.media_type, headers=self.headers(self.chain.model))

    async def _heard(self, audio: PcmFile, options: TranscribeOptions) -> tuple[TranscriptResult, Embeddings | None]:
        """Return the transcript, and the vectors of the speakers' voices where they are to be told."""

        async def attempt(model: ModelRef) -> tuple[TranscriptResult, Embeddings | None]:
            async with self._work(model, audio, options) as transcript:
                await transcript.finish()
                result = transcript.result(options.task, words=self.wanted.shows_words, layout=self.wanted.layout)
                if self._tells_embeddings and isinstance(transcript, AttributedTranscript):
                    return result, transcript.embeddings()
                return result, {} if self._tells_embeddings else None

        return await self.chain.run(attempt)

    @property
    def _tells_embeddings(self) -> bool:
        return self.fields.return_speaker_embeddings and self.speakers is not None

    def _work(
        self, model: ModelRef, audio: PcmFile, options: TranscribeOptions
    ) -> AbstractAsyncContextManager[AnyTranscript]:
        return transcribe(
            self.service,
            audio,
            options,
            model=model,
            speakers=self.speakers,
            naming=self.wanted.naming,
            sha256=self.upload.sha256,
            # Bazarr cannot be told to come again later: it waits for an hour, so it may as well wait here.
            wait=True,
        )


def _written(result: TranscriptResult, output: str, embeddings: Embeddings | None) -> bytes:
    if output != "json":
        return FORMATS[output].render(result)
    body = {"language": result.language or "", "text": result.text, "segments": segment_objects(result)}
    return orjson.dumps(body if embeddings is None else {**body, "speaker_embeddings": embeddings})


async def _detect_language(service: AsrService, request: Request, folder: Path) -> Response:
    form = await bazarr_requests.read(service, request, folder)
    fields = DetectFields.from_form(form)
    recording = await bazarr_requests.recording(form, fields)
    chain = Chain(service.host.chain(fields.model), service.host.resting)
    guess = await until_disconnect(request.receive, _guess(service, recording, fields, chain, folder))
    return JsonResponse(_language_object(guess), headers={MODEL_HEADER: header_text(chain.model.id)})


async def _guess(
    service: AsrService, recording: Recording, fields: DetectFields, chain: Chain, folder: Path
) -> LanguageGuess:
    if recording.empty:
        return LanguageGuess(None)
    where = WindowOptions(seconds=fields.detect_lang_length, offset=fields.detect_lang_offset)
    upload, enough = recording.upload, HEAD_SECONDS + where.offset
    audio = await service.decode(upload.path, folder, raw_rate=recording.raw_rate, head_seconds=enough)

    async def attempt(model: ModelRef) -> LanguageGuess:
        return await service.detect_language(audio, where, model=model, sha256=upload.sha256)

    try:
        return await chain.run(attempt)
    except errors.NotSupported:
        return LanguageGuess(None)  # a model for English only: it has no opinion


def _language_object(guess: LanguageGuess) -> dict[str, str | float]:
    """Return the language as Bazarr reads it; an empty object, which does it no harm, where nobody speaks.

    Bazarr knows no Cantonese and would block the service for a while.
    """
    if guess.language is None:
        return {}
    code = "zh" if guess.language == "yue" else guess.language
    return {
        "detected_language": languages.name(code),
        "language_code": code,
        "confidence": round(min(guess.probability, 1.0), 4),
    }
