"""The consents of people whose voices are cloned, in OpenAI's shapes."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from core import errors
from core.answers import JsonResponse
from core.auth import require_changes
from core.disconnect import until_disconnect
from tts.api.uploads import NAME_BODY, read_name, read_upload, the_recording
from tts.consents import Consent, Consents
from tts.samples import check_consent
from tts.service import TtsService
from utils.forms import Form

RECORDING_FIELDS = ("recording", "file", "audio")
MAX_NAME_CHARS = 256
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,7}")
_Limit = Annotated[int, BeforeValidator(lambda given: 20 if given == "" else given), Query(ge=1, le=100)]
_TEXT = {"type": "string"}
_CREATE_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["name", "language", "recording"],
                "properties": {
                    "name": _TEXT,
                    "language": _TEXT,
                    "recording": {"type": "string", "format": "binary"},
                },
            }
        }
    },
}


def router(service: TtsService, consents: Consents) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/audio/voice_consents", tags=["voices"])
    changes = [Depends(require_changes(service.settings))]

    @routes.post(
        "",
        summary="Keep the recording of a consent",
        dependencies=changes,
        openapi_extra={"requestBody": _CREATE_BODY},
    )
    async def create(request: Request) -> Response:
        async with service.spool.folder() as folder:
            form = await read_upload(request, folder, fields=RECORDING_FIELDS)
            name, language = _name(form.scalar("name")), _language(form)
            upload = the_recording(form, RECORDING_FIELDS)
            checking = check_consent(upload.path, folder / "consent.pcm", param=RECORDING_FIELDS[0])
            await until_disconnect(request.receive, checking)
            recording = await asyncio.to_thread(upload.path.read_bytes)
        consent = await asyncio.to_thread(
            consents.add, name=name, language=language, recording=recording, sha256=upload.sha256
        )
        return JsonResponse(_shown(consent))

    @routes.get("", summary="List the consents, the newest first")
    async def consent_list(after: str | None = None, limit: _Limit = 20) -> Response:
        page = await asyncio.to_thread(consents.page, after=after or None, limit=limit)
        data = [_shown(consent) for consent in page.consents]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return JsonResponse(
            {"object": "list", "data": data, "has_more": page.has_more, "first_id": first, "last_id": last}
        )

    @routes.get("/{consent_id}", summary="Show a consent")
    async def consent(consent_id: str) -> Response:
        return JsonResponse(_shown(await asyncio.to_thread(consents.find, consent_id)))

    @routes.post(
        "/{consent_id}",
        summary="Give a consent another label",
        dependencies=changes,
        openapi_extra={"requestBody": NAME_BODY},
    )
    async def rename(request: Request, consent_id: str) -> Response:
        name = _name(await read_name(request))
        return JsonResponse(_shown(await asyncio.to_thread(consents.rename, consent_id, name)))

    @routes.delete("/{consent_id}", summary="Delete a consent", dependencies=changes)
    async def delete(consent_id: str) -> Response:
        await asyncio.to_thread(consents.delete, consent_id)
        return JsonResponse({"id": consent_id, "object": "audio.voice_consent", "deleted": True})

    return routes


def _name(given: str | None) -> str:
    name = (given or "").strip()
    if not name:
        raise errors.MissingParameter("the parameter 'name' is required", param="name")
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise errors.InvalidRequest(f"a name is one line of at most {MAX_NAME_CHARS} characters", param="name")
    return name


def _language(form: Form) -> str:
    language = form.scalar("language")
    if language is None:
        raise errors.MissingParameter("the parameter 'language' is required", param="language")
    if not _LANGUAGE_TAG.fullmatch(language.strip()):
        raise errors.InvalidRequest(
            "invalid value for 'language': use a BCP 47 tag such as 'en' or 'pt-BR'", param="language"
        )
    return language.strip()


def _shown(consent: Consent) -> dict[str, Any]:
    return {
        "id": consent.id,
        "object": "audio.voice_consent",
        "name": consent.name,
        "language": consent.language,
        "created_at": consent.created_at,
    }
