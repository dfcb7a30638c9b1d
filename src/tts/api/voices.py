"""The list of voices."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from core.server import JsonResponse
from tts.service import TtsService
from tts.voice import Voice


def router(service: TtsService) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["voices"])

    @routes.get("/audio/voices", summary="List the voices of the installed models")
    async def voices(*, model: str | None = None, legacy: bool = False) -> Response:
        models = [service.host.resolve(model)] if model else service.host.installed()
        found = [voice for each in models for voice in service.voices(each)]
        if legacy:
            return JsonResponse({"voices": [voice.id for voice in found]})
        return JsonResponse({"object": "list", "voices": [_voice_dict(voice) for voice in found]})

    return routes


def _voice_dict(voice: Voice) -> dict[str, Any]:
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
