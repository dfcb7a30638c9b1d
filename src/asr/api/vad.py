"""The routes that tell where somebody speaks: LocalAI's /vad and speaches' /audio/speech/timestamps."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field
from starlette.responses import Response

from asr.api import json_body
from asr.api.bodies import FILE_FIELDS, raw_pcm_rate, read_body, the_file
from asr.api.fields import Fields
from asr.api.samples import FIELD, take_samples
from asr.pieces import EXPRESS_SECONDS
from asr.service import AsrService
from asr.speech_spans import SpanOptions
from asr.transcript import VadOptions
from core import errors
from core.answers import MODEL_HEADER, JsonResponse
from core.body_limit import reading, too_large
from core.disconnect import until_disconnect
from utils.audio import wav
from utils.audio.pcm import PcmFile
from utils.audio.spans import Span
from utils.forms import Form
from utils.uploads import in_thread

MODEL: Final = "silero-vad"
"""The one there is; requests may call it by any name of its family."""
_FAMILY = "silero"
_HEADERS = {MODEL_HEADER: MODEL}


def _infinity_is_absent(given: object) -> object:
    """Speaches' default has no spelling in JSON, and its clients send it in forms."""
    return None if isinstance(given, str) and given.strip().lower() in {"inf", "infinity"} else given


Milliseconds = Annotated[int, Field(ge=0, le=60_000)]
_Stretch = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Longest = Annotated[_Stretch | None, BeforeValidator(_infinity_is_absent)]


class SpeechRequest(Fields):
    """The fields of POST /v1/vad, apart from the recording; the defaults are those of LocalAI's Silero."""

    model: str | None = Field(default=None, max_length=512)
    threshold: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    min_speech_duration_ms: Milliseconds = 0
    min_silence_duration_ms: Milliseconds = 100
    speech_pad_ms: Milliseconds = 30
    max_speech_duration_s: Longest = None
    sample_rate: int | None = Field(default=None, ge=wav.MIN_RATE, le=wav.MAX_RATE)
    audio_track: int | None = Field(default=None, ge=0, le=31)

    def options(self) -> SpanOptions:
        """Return the numbers as the worker reads them."""
        return SpanOptions(
            vad=VadOptions(
                threshold=self.threshold,
                min_speech_ms=self.min_speech_duration_ms,
                min_silence_ms=self.min_silence_duration_ms,
                speech_pad_ms=self.speech_pad_ms,
            ),
            max_seconds=self.max_speech_duration_s,
        )


class TimestampsRequest(SpeechRequest):
    """The fields of POST /v1/audio/speech/timestamps; the defaults are speaches'."""

    threshold: float = Field(default=0.75, ge=0, le=1, allow_inf_nan=False)
    min_silence_duration_ms: Milliseconds = 1000
    speech_pad_ms: Milliseconds = 0


def router(service: AsrService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["speech"])

    @routes.post("/vad", summary="Tell where somebody speaks, in seconds", openapi_extra=_vad_schema())
    async def vad(request: Request) -> Response:
        spans = await _spans(service, request, SpeechRequest)
        found = [{"start": round(span.start, 3), "end": round(span.end, 3)} for span in spans]
        return JsonResponse({"segments": found}, headers=_HEADERS)

    @routes.post(
        "/audio/speech/timestamps",
        summary="Tell where somebody speaks, in milliseconds",
        openapi_extra={"requestBody": {"required": True, "content": _form_schema(TimestampsRequest)}},
    )
    async def timestamps(request: Request) -> Response:
        spans = await _spans(service, request, TimestampsRequest)
        found = [{"start": round(span.start * 1000), "end": round(span.end * 1000)} for span in spans]
        return JsonResponse(found, headers=_HEADERS)

    return routes


def _vad_schema() -> dict[str, Any]:
    properties = SpeechRequest.model_json_schema()["properties"]
    samples = {"type": "array", "items": {"type": "number"}, "description": "Samples from -1 to 1 at 16 kHz."}
    encoded = {"type": "string", "description": "The recording as base64 or as a data URL."}
    json = {"type": "object", "required": [FIELD], "properties": {FIELD: {"anyOf": [samples, encoded]}, **properties}}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": json}, **_form_schema(SpeechRequest)},
        }
    }


def _form_schema(fields: type[Fields]) -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    properties = {"file": file, **fields.model_json_schema()["properties"]}
    return {"multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": properties}}}


async def _spans(service: AsrService, request: Request, fields: type[SpeechRequest]) -> list[Span]:
    async with service.spool.folder() as folder:
        form, samples = await _read(service, request, folder)
        wanted = fields.from_form(form)
        _check_model(wanted.model, fallback=service.settings.model_fallback)
        work = _heard(service, form, samples, wanted, folder)
        return await until_disconnect(request.receive, work)


def _check_model(name: str | None, *, fallback: bool) -> None:
    if name and _FAMILY not in name.lower() and not fallback:
        raise errors.ModelNotFound(
            f"there is no voice activity detection {errors.shortened(name)!r}; use {MODEL}", param="model"
        )


async def _read(service: AsrService, request: Request, folder: Path) -> tuple[Form, PcmFile | None]:
    """Return the fields and files of a body, and the samples that JSON may hold as numbers."""
    limit, kind = service.settings.max_upload_mb, request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != "application/json":
        return await read_body(request, folder, max_mb=limit, parsers=service.parsers), None
    with reading(too_large(limit << 20)):
        body = await json_body.receive(request, folder, max_bytes=limit << 20)

        def parse() -> tuple[Form, PcmFile | None]:
            samples = take_samples(body, folder / "samples.s16")
            form = json_body.parse(body, folder, FILE_FIELDS)
            if samples is not None and form.files:
                raise errors.InvalidRequest("more than one recording was sent", param=FIELD)
            return form, samples

        async with service.parsers:
            return await in_thread(parse)


async def _heard(
    service: AsrService, form: Form, samples: PcmFile | None, wanted: SpeechRequest, folder: Path
) -> list[Span]:
    model = service.host.resolve(None)
    audio = await _decoded(service, form, wanted, folder) if samples is None else samples
    if not audio.frames:
        raise errors.InvalidAudio("there are no samples", param=FIELD)
    longest = service.settings.max_audio_seconds
    if audio.duration > longest:
        raise errors.AudioTooLong(
            f"the audio lasts {audio.duration:.0f} s; at most {longest:.0f} s are accepted", param=FIELD
        )
    params = {"pcm": audio.to_dict(), "spans": asdict(wanted.options())}
    short = audio.duration <= EXPRESS_SECONDS
    async with service.host.call(model, "speech", params, timeout=service.settings.timeout, short=short) as call:
        return [Span(start, end) async for event in call for start, end in event.data]


async def _decoded(service: AsrService, form: Form, wanted: SpeechRequest, folder: Path) -> PcmFile:
    upload = await the_file(form)
    rate = await raw_pcm_rate(form, upload)
    return await service.decode(upload.path, folder, audio_track=wanted.audio_track, raw_rate=rate)
