"""Routes and wire shapes that both services have: the lists of models, and what the service can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from core.answers import JsonResponse
from core.errors import InvalidRequest, shortened
from core.host import ModelHost
from core.model_entry import TASKS, ModelRef
from core.service import Service

Details = Callable[[ModelRef], Mapping[str, Any]]
"""What only one of the services has to say about a model."""


def _no_details(_: ModelRef) -> Mapping[str, Any]:
    return {}


def model_dict(model: ModelRef, host: ModelHost, details: Details = _no_details) -> dict[str, Any]:
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
        "sample_rate": model.sample_rate,
        "loaded": host.worker(model).state == "ready",
        "shutdown_date": None,
        **details(model),
    }


def model_routes(host: ModelHost, details: Details = _no_details, *, others: Sequence[ModelHost] = ()) -> APIRouter:
    """Return the routes of the model lists; ids with slashes and colons arrive in either spelling.

    The models of `others` do other tasks than the service is there for, and come last.
    """
    routes = APIRouter(tags=["models"])

    def listed(hosts: Sequence[ModelHost], task: str | None = None) -> list[dict[str, Any]]:
        found = [(model, of) for of in hosts for model in of.installed() if task in {None, "", model.task}]
        return [model_dict(model, of, details) for model, of in found]

    @routes.get("/models", summary="List the installed models")
    async def models(task: str | None = None) -> Response:
        if task and task not in TASKS:
            raise InvalidRequest(f"unknown task {shortened(task)!r}; use one of {', '.join(TASKS)}", param="task")
        return JsonResponse({"object": "list", "data": listed([host, *others], task)})

    @routes.get("/audio/models", summary="List the installed models, as Open WebUI reads them")
    async def audio_models() -> Response:
        return JsonResponse({"object": "list", "models": listed([host])})

    @routes.get("/models/{model_id:path}", summary="Show one model")
    async def model(model_id: str) -> Response:
        of = next((each for each in (host, *others) if each.knows(model_id)), host)
        return JsonResponse(model_dict(of.answering(model_id)[0], of, details))

    return routes


def capability_routes(service: Service) -> APIRouter:
    """Return the route that tells a user interface what it need not guess."""
    routes = APIRouter(tags=["models"])

    @routes.get("/capabilities", summary="Formats, languages, limits and features of this service")
    async def capabilities() -> Response:
        await service.look()
        return JsonResponse(service.capabilities())

    return routes
