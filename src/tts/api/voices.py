"""The voices there are, and those that people make, rename and delete."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from io import BufferedReader
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from core import errors
from core.answers import JsonResponse, Stream
from core.auth import require_changes
from core.disconnect import until_disconnect
from tts.api.new_voice import RECORDING_FIELDS, REQUEST_BODY, NewVoice
from tts.api.uploads import NAME_BODY, read_name, read_upload
from tts.consents import Consents
from tts.library import Library
from tts.removal import remove
from tts.samples import read_sample
from tts.service import TtsService
from tts.sidecar import Sidecar, open_ordinary
from tts.voice import Voice

_CHUNK_BYTES = 1 << 16
_Flag = Annotated[bool, BeforeValidator(lambda given: given or False)]  # empty is absent


def router(service: TtsService, library: Library, consents: Consents) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["voices"])
    changes = [Depends(require_changes(service.settings))]

    @routes.get("/audio/voices", summary="List the voices of the installed models")
    async def voices(*, model: str | None = None, legacy: _Flag = False) -> Response:
        await service.look()
        models = [service.listed(model)] if model else service.host.installed()
        # A recording is listed once, with the first of the models that speak with it.
        found: dict[tuple[str, str], Voice] = {}
        for each in models:
            for voice in service.voices(each):
                found.setdefault((voice.id, voice.model), replace(voice, model=voice.model or each.id))
        if legacy:
            return JsonResponse({"voices": [_spoken_of(voice) for voice in found.values()]})
        return JsonResponse({"object": "list", "voices": [_listed(voice) for voice in found.values()]})

    @routes.post(
        "/audio/voices",
        summary="Make a voice from a recording",
        dependencies=changes,
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    async def make(request: Request) -> Response:
        service.check_cloning()
        async with service.spool.folder() as folder:
            form = await read_upload(request, folder, fields=RECORDING_FIELDS)
            new = NewVoice.from_form(form)
            policy = service.settings.voice_consent
            consent = await asyncio.to_thread(consents.asked_for, new.consent, policy=policy)
            taken = _builtin(service)
            await asyncio.to_thread(library.check_free, new.name, taken=taken)
            reading = read_sample(new.recording.path, folder / "sample.wav", param=RECORDING_FIELDS[0])
            sample = await until_disconnect(request.receive, reading)
            about = Sidecar(
                name=new.name,
                language=new.language,
                reference_text=new.reference_text,
                created_at=int(time.time()),
                consent=consent,
            )
            voice = await asyncio.to_thread(library.add, sample.path, about, taken=taken)
        return JsonResponse(_made(voice))

    @routes.get("/audio/voices/{voice_id}", summary="Show one voice")
    async def voice(voice_id: str) -> Response:
        return JsonResponse(_shown(service, await _find(service, library, voice_id)))

    @routes.get("/audio/voices/{voice_id}/audio", summary="Get the recording of a voice", response_class=Response)
    async def audio(voice_id: str) -> Response:
        found = await _find(service, library, voice_id)
        file = await asyncio.to_thread(_open, found)
        length = str(os.fstat(file.fileno()).st_size)
        held = AsyncExitStack()
        held.callback(file.close)
        return Stream(_chunks(file), media_type="audio/wav", headers={"Content-Length": length}, held=held)

    @routes.patch(
        "/audio/voices/{voice_id}",
        summary="Rename a voice",
        dependencies=changes,
        openapi_extra={"requestBody": NAME_BODY},
    )
    async def rename(request: Request, voice_id: str) -> Response:
        name = await read_name(request)
        _check_not_builtin(await _find(service, library, voice_id))
        renamed = await asyncio.to_thread(library.rename, voice_id, name, taken=_builtin(service))
        return JsonResponse(_shown(service, renamed))

    @routes.delete("/audio/voices/{voice_id}", summary="Delete a voice", dependencies=changes)
    async def delete(voice_id: str) -> Response:
        _check_not_builtin(await _find(service, library, voice_id))
        gone = await remove(service, library, voice_id)
        return JsonResponse({"id": gone.id, "object": "audio.voice.deleted", "deleted": True})

    return routes


def _builtin(service: TtsService) -> dict[str, Voice]:
    """Return the installed models' own voices by id, which no other voice may have for a name."""
    return {voice.id: voice for model in service.host.installed() for voice in service.builtin(model)}


async def _find(service: TtsService, library: Library, key: str) -> Voice:
    """Return a recording by id or name, else a model's own voice by id; NotFound for any other."""
    try:
        return await asyncio.to_thread(library.find, key)
    except errors.NotFound:
        if found := _builtin(service).get(key):
            return found
        raise


def _check_not_builtin(voice: Voice) -> None:
    if voice.type == "builtin":
        raise errors.Forbidden("this voice is part of a model and cannot be changed")


def _open(voice: Voice) -> BufferedReader:
    if voice.sample is None:
        raise errors.NotFound("this voice is part of a model; there is no recording of it")
    try:
        return open_ordinary(voice.sample)
    except OSError as error:
        raise errors.NotFound("the recording of this voice is gone") from error


async def _chunks(file: BufferedReader) -> AsyncGenerator[bytes, None]:
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk


def _spoken_of(voice: Voice) -> str:
    """Return what people call a voice: both this and its id find it."""
    return voice.name if voice.type == "cloned" else voice.id


def _listed(voice: Voice) -> dict[str, Any]:
    """Return a voice as clients read it: Open WebUI needs both `id` and `name`."""
    return {
        "id": voice.id,
        "name": voice.name,
        "language": voice.language,
        "gender": voice.gender,
        "model": voice.model,
        "type": voice.type,
        "created_at": voice.created_at,
    }


def _shown(service: TtsService, voice: Voice) -> dict[str, Any]:
    """Return a voice with its model: of a recording the first that speaks with it, None without one."""
    cloner = service.cloner
    model = voice.model or (cloner and cloner.id)
    return {**_listed(voice), "object": "audio.voice", "model": model, "reference_text": voice.transcript}


def _made(voice: Voice) -> dict[str, Any]:
    """Return a new voice as OpenAI's SDK reads it, where `type` says how it was made."""
    return {
        "id": voice.id,
        "object": "audio.voice",
        "name": voice.name,
        "created_at": voice.created_at,
        "type": "audio_sample",
        "language": voice.language,
    }
