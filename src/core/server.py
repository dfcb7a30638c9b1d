"""What both services share on the HTTP side: the app, errors in one shape, health and metrics routes, CORS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match

from core import errors
from core.answers import ERROR_HEADER, MODEL_HEADER, JsonResponse, error_response, from_validation
from core.auth import ApiKeys
from core.dialect import OPENAI, Dialect
from core.errors import VoiceStackError, shortened
from core.exchange import RequestMiddleware
from core.metrics import CONTENT_TYPE as METRICS_TYPE
from core.schemas import capability_routes
from core.service import Service
from core.settings import ServiceSettings

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HTTP_ERRORS: dict[int, type[VoiceStackError]] = {
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.FileTooLarge,
    415: errors.UnsupportedMediaType,
}


class _Cors(CORSMiddleware):
    """Starlette's own, whose refusals have the shape of all our errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == HTTPStatus.OK:
            return response
        return error_response(errors.InvalidRequest(bytes(response.body).decode()))


def create_service(
    settings: ServiceSettings, service: Service, routers: Sequence[APIRouter], *, dialect: Dialect = OPENAI
) -> FastAPI:
    """Return the app of a service, which starts and ends with it and is at `app.state.service`.

    The routers answer under the prefix and without one; `dialect` tells which paths are for clients unlike OpenAI's.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title=settings.project_name,
        version=settings.version,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
    )
    _add_error_handlers(app, dialect)
    _add_health(app, service)
    _document_errors(app)
    app.state.service = service
    for router in (*routers, capability_routes(service)):
        app.include_router(router, prefix=settings.api_v1_str)
        app.include_router(router, include_in_schema=False)
    app.add_middleware(
        RequestMiddleware,
        keys=ApiKeys(
            settings.api_keys,
            public_listings=settings.public_listings,
            prefix=settings.api_v1_str,
            dialect=dialect,
        ),
        max_body=settings.max_upload_mb << 20,
        metrics=service.metrics,
        dialect=dialect,
    )
    # Last, so that it is outermost: a browser shows an error only if the answer has these headers.
    if settings.cors_origins:
        app.add_middleware(
            _Cors,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "openai-processing-ms", "retry-after", MODEL_HEADER, ERROR_HEADER],
        )
    return app


def _document_errors(app: FastAPI) -> None:
    """Describe our one error shape in the OpenAPI document, instead of FastAPI's 422, which is never sent."""
    error: dict[str, Any] = {field: {"type": "string"} for field in ("message", "type")}
    error |= {field: {"type": ["string", "null"]} for field in ("param", "code")}
    schema = {"type": "object", "properties": {"error": {"type": "object", "properties": error}}}
    answer = {"description": "Error", "content": {"application/json": {"schema": schema}}}
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = answer
        for name in ("HTTPValidationError", "ValidationError"):
            document.get("components", {}).get("schemas", {}).pop(name, None)
        return document

    # FastAPI's own way to change the document.
    app.openapi = openapi  # type: ignore[method-assign]


def _add_error_handlers(app: FastAPI, dialect: Dialect) -> None:
    def answer(request: Request, error: VoiceStackError) -> Response:
        return error_response(error, text=dialect.speaks_text(request.url.path))

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, VoiceStackError)  # noqa: S101 - registered for this class only
        return answer(request, error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
        cls = _HTTP_ERRORS.get(error.status_code, errors.InvalidRequest)
        what = HTTPStatus(error.status_code).phrase
        response = answer(request, cls(f"{what}: {shortened(request.method)} {shortened(request.url.path)}"))
        response.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # Starlette names the methods of the first route with this path only.
            response.headers["allow"] = ", ".join(_allowed(app, request))
        return response

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
        return answer(request, from_validation(error.errors()))

    app.add_exception_handler(VoiceStackError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that some route answers on the path of a request."""
    scope = {key: request.scope[key] for key in ("type", "path", "root_path", "headers")}
    found = [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/livez", tags=["health"], summary="Whether the event loop runs")
    async def livez() -> Response:
        return JsonResponse({"status": "ok"})

    @app.get("/ready", tags=["health"], include_in_schema=False)
    @app.get("/readyz", tags=["health"], summary="Whether the default model answers")
    async def readyz() -> Response:
        ready = service.ready
        return JsonResponse(service.health() | {"ready": ready}, status_code=200 if ready else 503)

    @app.get("/healthcheck", tags=["health"], include_in_schema=False)
    @app.get("/healthz", tags=["health"], include_in_schema=False)
    @app.get("/health", tags=["health"], summary="What the service is and does; always 200")
    async def health() -> Response:
        return JsonResponse({"status": "ok", "ready": service.ready, **service.health()})

    @app.get("/metrics", tags=["health"], summary="Numbers for Prometheus")
    async def numbers() -> Response:
        return Response(service.metrics.text(), media_type=METRICS_TYPE)

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/docs")
