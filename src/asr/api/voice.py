"""Voices of people: vectors, one person or two, and the registry of those who are known; LocalAI's shapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from asr.api.bodies import raw_pcm_rate, read_body
from asr.api.voice_requests import DEFAULT_TOP_K, FIRST, HOW_TO_SEND, ONE, SECOND, VoiceRequest, recording
from asr.diarization import likeness
from asr.diarization.engine import Voiceprint
from asr.diarization.people import Person, check_labels, check_name
from asr.listening import is_unsure, listen
from asr.service import AsrService
from core import errors
from core.answers import MODEL_HEADER, JsonResponse, header_text
from core.auth import require_changes, require_closed
from core.disconnect import until_disconnect
from core.model_entry import ModelRef
from core.spool import storage_error
from utils.forms import Form, UploadedFile

_TEXT = {"type": "string"}
_DISTANCE = {"type": "number", "exclusiveMinimum": 0, "maximum": 2}
_ID = {"type": "object", "required": ["id"], "properties": {"id": _TEXT}}


@dataclass(frozen=True, slots=True)
class _Heard:
    """A request whose recordings were listened to: its fields, the model, a voiceprint for each recording."""

    wanted: VoiceRequest
    model: ModelRef
    voices: tuple[Voiceprint, ...]

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        return {MODEL_HEADER: header_text(self.model.id)}

    @property
    def facts(self) -> dict[str, Any]:
        """What every answer tells: whose vectors these are, and whether there was too little speech to be sure."""
        unsure = any(map(is_unsure, self.voices))
        return {"model": self.voices[0].facts.model, "low_confidence": unsure}


def router(service: AsrService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/voice", tags=["voices of people"])
    people = service.people
    enabled = Depends(_enabled(service))
    changes = Depends(require_changes(service.settings))
    closed = Depends(require_closed(service.settings, "registered people are not shown"))

    @routes.post("/embed", summary="Get the vector of a voice", openapi_extra=_body({}, ONE))
    async def embed(request: Request) -> Response:
        heard = await _hear(service, request, ONE)
        (voice,) = heard.voices
        told = {"embedding": voice.vector, "dim": voice.facts.size, "seconds": voice.seconds, **heard.facts}
        return JsonResponse(told, headers=heard.headers)

    @routes.post(
        "/verify",
        summary="Tell whether two recordings are of one person",
        openapi_extra=_body({"threshold": _DISTANCE}, FIRST, SECOND),
    )
    async def verify(request: Request) -> Response:
        started = time.perf_counter()
        heard = await _hear(service, request, FIRST, SECOND)
        one, other = heard.voices
        threshold = heard.wanted.threshold or one.facts.verify
        distance = likeness.distance(one.vector, other.vector)
        told = {
            "verified": distance <= threshold,
            "distance": distance,
            "threshold": threshold,
            "confidence": likeness.confidence(distance, threshold),
            "processing_time_ms": (time.perf_counter() - started) * 1000,
            **heard.facts,
        }
        return JsonResponse(told, headers=heard.headers)

    @routes.post(
        "/register",
        summary="Keep the voice of a person; the same name again adds a sample",
        dependencies=[enabled, changes],
        openapi_extra=_body({"name": _TEXT, "labels": {"type": "object", "additionalProperties": _TEXT}}, ONE),
    )
    async def register(request: Request) -> Response:
        heard = await _hear(service, request, ONE, check=_check_person)
        wanted = heard.wanted
        person = await people.run(people.register, wanted.name, heard.voices[0], labels=wanted.labels)
        return JsonResponse({**_shown(person), **heard.facts}, headers=heard.headers)

    @routes.post(
        "/identify",
        summary="Find the registered people whose voices are nearest",
        dependencies=[enabled, closed],
        openapi_extra=_body({"top_k": {"type": "integer", "default": DEFAULT_TOP_K}, "threshold": _DISTANCE}, ONE),
    )
    async def identify(request: Request) -> Response:
        heard = await _hear(service, request, ONE)
        wanted = heard.wanted
        matches = await people.run(
            people.identify, heard.voices[0], top_k=wanted.top_k or DEFAULT_TOP_K, threshold=wanted.threshold
        )
        told = {"matches": [asdict(match) for match in matches], **heard.facts}
        return JsonResponse(told, headers=heard.headers)

    @routes.post(
        "/forget",
        status_code=204,
        response_class=Response,
        summary="Delete a person and all voiceprints of theirs",
        dependencies=[enabled, changes],
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _ID}}}},
    )
    async def forget(request: Request) -> Response:
        async with service.spool.folder() as folder:
            wanted = VoiceRequest.from_form(await _form(service, request, folder))
        if wanted.id is None:
            raise errors.MissingParameter("the parameter 'id' is required", param="id")
        await people.run(people.forget, wanted.id)
        return Response(status_code=204)

    @routes.get("/speakers", summary="List the registered people", dependencies=[enabled, closed])
    async def speakers() -> Response:
        found = await people.run(people.everybody)
        return JsonResponse({"object": "list", "data": [_listed(person) for person in found]})

    @routes.post("/analyze", summary="Age, gender, emotion: not supported by any engine here")
    async def analyze() -> Response:
        raise errors.NotSupported("no engine here tells age, gender or emotion from a voice")

    return routes


async def _hear(
    service: AsrService,
    request: Request,
    *recordings: Sequence[str],
    check: Callable[[VoiceRequest], None] | None = None,
) -> _Heard:
    """Read a request and listen to its recordings, each under its names; `check` sees the fields before that."""
    async with service.spool.folder() as folder:
        form = await _form(service, request, folder)
        wanted = VoiceRequest.from_form(form)
        if check:
            check(wanted)
        model = service.diarizer.resolve(wanted.model)
        service.diarizer.check_encodes(model)
        uploads = [await recording(form, names, folder) for names in recordings]
        listening = _voiceprints(service, form, uploads, [names[0] for names in recordings], model)
        return _Heard(wanted, model, await until_disconnect(request.receive, listening))


async def _form(service: AsrService, request: Request, folder: Path) -> Form:
    return await read_body(
        request,
        folder,
        max_mb=service.settings.max_upload_mb,
        parsers=service.parsers,
        file_fields=(),  # base64 is told apart from a URL later, by `recording`
        how_to_send=HOW_TO_SEND,
    )


async def _voiceprints(
    service: AsrService, form: Form, uploads: Sequence[UploadedFile], params: Sequence[str], model: ModelRef
) -> tuple[Voiceprint, ...]:
    return tuple(
        [await _voiceprint(service, form, upload, param, model) for upload, param in zip(uploads, params, strict=True)]
    )


async def _voiceprint(service: AsrService, form: Form, upload: UploadedFile, param: str, model: ModelRef) -> Voiceprint:
    """Return the vector of the voice in an upload; what is wrong with that names `param`."""
    place = upload.path.with_name(f"pcm-{param}")
    try:
        await asyncio.to_thread(place.mkdir)
        rate = await raw_pcm_rate(form, upload)
        return await listen(service, upload.path, place, model=model, raw_rate=rate)
    except (errors.InvalidAudio, errors.UnsupportedFormat, errors.AudioTooLong) as error:
        error.param = param
        raise
    except OSError as error:
        raise storage_error(error) from error


def _enabled(service: AsrService) -> Callable[[], Awaitable[None]]:
    async def may_keep_voiceprints() -> None:
        service.people.check()

    return may_keep_voiceprints


def _check_person(wanted: VoiceRequest) -> None:
    """Raise what is wrong with a person's name and labels before anybody listens to the recording."""
    check_name(wanted.name)
    check_labels(wanted.labels or {})


def _shown(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "name": person.name,
        "labels": person.labels,
        "registered_at": person.registered,
        "samples": person.samples,
    }


def _listed(person: Person) -> dict[str, Any]:
    return {**_shown(person), "object": "voice.speaker", "models": person.models}


def _body(properties: dict[str, Any], *recordings: Sequence[str]) -> dict[str, Any]:
    """Describe the body of a route, for OpenAPI: the recordings and the fields beside them."""
    names = [each[0] for each in recordings]
    required = [*names, *(["name"] if "name" in properties else [])]
    fields = {**properties, "model": _TEXT}

    def schema(sound: dict[str, str]) -> dict[str, Any]:
        return {
            "schema": {
                "type": "object",
                "required": required,
                "properties": {**dict.fromkeys(names, sound), **fields},
            }
        }

    as_text = {"type": "string", "description": "base64 or a data URI"}
    content = {
        "application/json": schema(as_text),
        "multipart/form-data": schema({"type": "string", "format": "binary"}),
    }
    return {"requestBody": {"required": True, "content": content}}
