"""Routes and wire shapes that both services have: the lists of models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from core.host import ModelHost
from core.model_entry import ModelRef
from core.server import JsonResponse


def model_dict(model: ModelRef, host: ModelHost) -> dict[str, Any]:
    """Return OpenAI's Model object with our additions."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "task": model.task,
        "language": list(model.languages),
        "aliases": list(model.aliases),
        "licence": model.licence,
        "loaded": host.worker(model).state == "ready",
        "shutdown_date": None,
    }


def model_routes(host: ModelHost) -> APIRouter:
    """Return the routes of the model lists; ids with slashes and colons arrive in either spelling."""
    routes = APIRouter(tags=["models"])

    @routes.get("/models", summary="List the installed models")
    async def models(task: str | None = None) -> Response:
        found = [model_dict(model, host) for model in host.installed() if task in {None, "", model.task}]
        return JsonResponse({"object": "list", "data": found})

    @routes.get("/audio/models", summary="List the installed models, as Open WebUI reads them")
    async def audio_models() -> Response:
        return JsonResponse({"object": "list", "models": [model_dict(model, host) for model in host.installed()]})

    @routes.get("/models/{model_id:path}", summary="Show one model")
    async def model(model_id: str) -> Response:
        return JsonResponse(model_dict(host.resolve(model_id), host))

    return routes
