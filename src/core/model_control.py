"""Routes that change which models there are: loading and unloading them, pulling them and deleting them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BeforeValidator
from starlette.responses import Response

from core import errors
from core.answers import JsonResponse, Stream
from core.auth import require_changes
from core.catalogue import Catalogue
from core.disconnect import until_disconnect
from core.host import ModelHost
from core.model_entry import ModelRef, Task
from core.pings import PING_SECONDS
from core.pulls import Pull, Pulls, Step
from core.settings import ServiceSettings
from utils import sse

PS = "/api/ps"
MODEL = "/models/{model_id:path}"
LOOK_SECONDS = 0.5
"""How often a stream looks whether there is something to tell."""
Hosts = Mapping[Task, ModelHost]
"""Who serves the models of a task; the first is what the service is there for."""
_EVENT = "model.pull"
_SSE = "text/event-stream"
_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
# Empty is absent.
_Flag = Annotated[bool, BeforeValidator(lambda given: given or False), Query()]


def loading_routes(settings: ServiceSettings, hosts: Hosts) -> APIRouter:
    """Return the routes of what is loaded, in speaches' shape; they have no prefix."""
    routes = APIRouter(tags=["models"])
    changes = Depends(require_changes(settings))

    @routes.get(PS, summary="List the loaded models and their processes")
    async def loaded() -> Response:
        rows = [row for host in hosts.values() for row in host.details() if row["state"] != "unloaded"]
        ids = dict.fromkeys(row["id"] for row in rows if row["state"] == "ready")
        return JsonResponse({"models": list(ids), "details": rows})

    @routes.post(PS + "/{model_id:path}", status_code=201, summary="Load a model", dependencies=[changes])
    async def load(request: Request, model_id: str) -> Response:
        host, model = _found(hosts, model_id)
        host.usable(model)
        if "ready" in _states(host, model):
            raise errors.Conflict(f"the model {model.id} is loaded already", param="model")
        await until_disconnect(request.receive, host.load(model))
        return JsonResponse({"id": model.id, "object": "model", "loaded": True}, status_code=201)

    @routes.delete(PS + "/{model_id:path}", summary="Unload a model", dependencies=[changes])
    async def unload(model_id: str) -> Response:
        host, model = _found(hosts, model_id)
        await host.unload(model)
        return JsonResponse({"id": model.id, "object": "model", "loaded": False})

    return routes


def pulling_routes(settings: ServiceSettings, hosts: Hosts) -> APIRouter:
    """Return the routes that bring models onto this machine and delete them."""
    routes = APIRouter(tags=["models"], dependencies=[Depends(require_changes(settings))])
    pulls = Pulls()

    @routes.post(
        MODEL,
        status_code=201,
        summary="Pull a model; one that is installed stays as it is",
        responses={200: {"description": "It is installed already, or the events of a stream"}},
    )
    async def pull(request: Request, model_id: str, stream: _Flag = False, accept_licence: _Flag = False) -> Response:
        host, model = _found(hosts, model_id)
        catalogue = host.catalogue
        if model.installed:
            pull = Pull()
            pull.ended.set_result(None)
        else:
            pull = pulls.start(
                model.id,
                lambda progress: catalogue.pull(model.id, accept_licence=accept_licence, progress=progress),
                accepted=accept_licence,
            )
        try:
            if stream or _SSE in request.headers.get("accept", ""):
                # What is refused at once has its status, not a 200.
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await until_disconnect(request.receive, _end_of(pull))
                return Stream(_events(pull, host, model), media_type=_SSE, headers=_SSE_HEADERS)
            await until_disconnect(request.receive, _end_of(pull))
        except errors.LicenceNotAccepted as error:
            raise errors.LicenceNotAccepted(
                f"{error.message}, or send accept_licence=true", param="accept_licence"
            ) from error
        return JsonResponse(_shown(host, model), status_code=200 if model.installed else 201)

    @routes.delete(MODEL, summary="Delete an installed model that is not loaded")
    async def delete(model_id: str) -> Response:
        host, model = _found(hosts, model_id)
        store = host.catalogue.store
        if {"loading", "ready"} & _states(host, model):
            raise errors.Conflict(f"the model {model.id} is loaded; DELETE {PS}/{model.id} unloads it", param="model")
        if not store.is_installed(model.id) and (model.installed or store.folder(model.id).exists()):
            raise errors.Forbidden(f"the model {model.id} was not pulled, so it is not deleted", param="model")
        async with host.kept_out(model):
            freed = await asyncio.to_thread(_remove, host.catalogue, model)
        return JsonResponse({"id": model.id, "object": "model", "deleted": True, "freed": freed})

    return routes


def _found(hosts: Hosts, name: str) -> tuple[ModelHost, ModelRef]:
    """Return the model with an id or alias, installed or not, and who serves it.

    Names that stand for another model (the default, a fallback) mean nothing here. Raises ModelNotFound.
    """
    unknown: errors.ModelNotFound | None = None
    for host in hosts.values():
        try:
            return host, host.named(name)
        except errors.ModelNotFound as error:
            unknown = unknown or error
    raise unknown or errors.ModelNotFound("this service has no models", param="model")


def _states(host: ModelHost, model: ModelRef) -> set[str]:
    """Return the states of a model's processes."""
    return {row["state"] for row in host.details() if row["id"] == model.id}


class _NoWaiting:
    """The Progress of a deletion, of which there is one thing to tell: that a pull has the model."""

    def begin(self, what: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self, done: int) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Refuse instead of waiting, which could take as long as the pull."""
        raise errors.Conflict(f"not deleted: {text}", param="model")


def _remove(catalogue: Catalogue, model: ModelRef) -> int:
    return catalogue.remove(model.id, progress=_NoWaiting())


def _shown(host: ModelHost, model: ModelRef) -> dict[str, Any]:
    """Return what is told of an installed model: its size in bytes, and optional files that no source had."""
    manifest = host.catalogue.store.manifest(model.id)
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "task": model.task,
        "engine": model.engine,
        "licence": model.licence,
        "size": manifest.size if manifest else model.size,
        "missing": list(manifest.missing) if manifest else [],
    }


async def _end_of(pull: Pull) -> None:
    await asyncio.wrap_future(pull.ended)


async def _events(pull: Pull, host: ModelHost, model: ModelRef) -> AsyncGenerator[bytes, None]:
    """Yield where a pull is whenever that changes, and at last how it ended."""
    told: Step | None = None
    noted = 0
    spoken = time.monotonic()
    while True:
        # Asked first, so that what came before the end is told, too.
        ended = pull.ended.done()
        frames = [_frame("note", model, message=text) for text in pull.notes[noted:]]
        noted += len(frames)
        if (step := pull.step) is not None and step != told:
            frames.append(_frame("progress", model, step=step.what, completed=step.done, total=step.total))
            told = step
        if not frames and not ended and time.monotonic() - spoken >= PING_SECONDS:
            frames.append(sse.PING)
        for frame in frames:
            yield frame
            spoken = time.monotonic()
        if ended:
            break
        await asyncio.sleep(LOOK_SECONDS)
    error = pull.ended.exception()
    if isinstance(error, errors.VoiceStackError):
        yield sse.event("error", {"type": "error", "error": error.to_dict()})
        return
    yield _frame("completed", model, **_shown(host, model))
    yield sse.DONE


def _frame(name: str, model: ModelRef, **more: Any) -> bytes:
    kind = f"{_EVENT}.{name}"
    return sse.event(kind, {"type": kind, "model": model.id, **more})
