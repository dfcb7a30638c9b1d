"""What both services share on the HTTP side: the app, errors in OpenAI's shape, request ids, keys, health routes."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import errors, logs
from core.auth import ApiKeys
from core.disconnect import ClientLeft, until_disconnect
from core.errors import VoiceStackError
from core.service import Service
from core.settings import ServiceSettings

log = logging.getLogger(__name__)
MODEL_HEADER = "x-voice-stack-model"
"""Says which model answered."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_HTTP_ERRORS: dict[int, type[VoiceStackError]] = {
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.FileTooLarge,
    415: errors.UnsupportedMediaType,
}


class JsonResponse(Response):
    """JSON by orjson; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes of `content`; dataclasses are welcome."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class Stream(StreamingResponse):
    """An answer sent as it is made, whose maker is closed when the answer or the connection ends.

    Starlette's own response leaves a generator that waits in a `yield` to the garbage collector, and cancels one that
    waits elsewhere again at every await of its cleanup; either way what it holds (a worker, an encoder) would stay.
    """

    def __init__(self, parts: AsyncGenerator[bytes, None], *, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts, then close their maker."""
        del scope
        async with aclosing(self._parts):
            await until_disconnect(receive, self.stream_response(send))


def header_text(text: str) -> str:
    """Return a name as a header can carry it: what is not plain ASCII is percent-encoded."""
    return quote(text, safe=" !#$&'()*+,-./:;=?@[]_~")


def error_response(error: VoiceStackError) -> Response:
    """Return the answer to a failed request."""
    return JsonResponse({"error": error.to_dict()}, status_code=error.status, headers=error.headers())


def create_service(settings: ServiceSettings, service: Service, routers: Sequence[APIRouter]) -> FastAPI:
    """Return the app of a service, which starts and ends with it and is at `app.state.service`.

    The routers answer under the prefix and without one.
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
    _add_error_handlers(app)
    _add_health(app, service)
    _document_errors(app)
    app.state.service = service
    for router in routers:
        app.include_router(router, prefix=settings.api_v1_str)
        app.include_router(router, include_in_schema=False)
    keys = ApiKeys(settings.api_keys, public_listings=settings.public_listings)
    app.add_middleware(RequestMiddleware, keys=keys)
    # Last, so that it is outermost: a browser shows an error only if the answer has these headers.
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "openai-processing-ms", MODEL_HEADER],
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


def _add_error_handlers(app: FastAPI) -> None:
    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, VoiceStackError)  # noqa: S101 - registered for this class only
        return error_response(error)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
        cls = _HTTP_ERRORS.get(error.status_code, errors.InvalidRequest)
        what = HTTPStatus(error.status_code).phrase
        response = error_response(cls(f"{what}: {request.method} {request.url.path}"))
        response.headers.update(error.headers or {})
        return response

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
        return error_response(from_validation(error.errors()))

    app.add_exception_handler(VoiceStackError, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)


def from_validation(problems: Any) -> VoiceStackError:  # pydantic's own list type is private
    """Return the first of pydantic's problems as an error of ours; the input itself is never repeated."""
    first = problems[0]
    place = [str(part) for part in first["loc"] if part not in {"body", "query", "path", "header"}]
    # Only the field: what is below it (an index, a branch of a union) is our affair.
    param = place[0] if place else None
    if first["type"] == "missing":
        return errors.MissingParameter(f"the parameter {param!r} is required", param=param)
    text = str(first["msg"]).removeprefix("Value error, ")
    return errors.InvalidRequest(f"invalid value for {param!r}: {text}", param=param)


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

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/docs")


class RequestMiddleware:
    """Gives every request an id, checks its key, times it, and turns what nobody caught into one well-formed answer."""

    def __init__(self, app: ASGIApp, *, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].endswith("/") and scope["path"] != "/":
            # A redirect would lose the body of a POST.
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        exchange = _Exchange(scope, send)
        token = logs.request_id.set(exchange.id)
        try:
            try:
                self._keys.check(scope["method"], scope["path"], Headers(scope=scope))
                await self._app(scope, receive, exchange.send)
            except asyncio.CancelledError:
                # Only the server cancels a request: when the time it had to finish at the end is over.
                await exchange.fail(errors.Draining("the service is shutting down"), receive)
            except Exception as error:  # noqa: BLE001 - the last handler of a request
                await exchange.fail(error, receive)
        finally:
            exchange.log()
            logs.request_id.reset(token)


class _Exchange:
    """One request and its answer, seen from the outermost layer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = time.monotonic()
        self._status: int | None = None
        given = Headers(scope=scope).get("x-request-id", "")
        self.id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.id
            headers["openai-processing-ms"] = str(self._elapsed_ms())
            headers["x-content-type-options"] = "nosniff"
        await self._send(message)

    async def fail(self, error: Exception, receive: Receive) -> None:
        """Answer with the error, or when the answer has begun end it without a proper close."""
        if isinstance(error, ClientLeft | ClientDisconnect):
            return
        if isinstance(error.__cause__, VoiceStackError):
            # Starlette wraps an error that comes after the start of an answer.
            error = error.__cause__
        if not isinstance(error, VoiceStackError):
            log.error("unexpected error", exc_info=error)
            error = errors.InternalError(f"an unexpected error occurred; the log has it under {self.id}")
        if self._status is None:
            await error_response(error)(self._scope, receive, self.send)
        else:
            # The server sees an unfinished answer and drops the connection, which is what the client must see.
            log.warning("the answer broke off: %s", error.message)

    def log(self) -> None:
        path = self._scope["path"]
        level = logging.DEBUG if path in {"/livez", "/readyz", "/health"} else logging.INFO
        log.log(level, "%s %s %s %d ms", self._scope["method"], path, self._status, self._elapsed_ms())

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)
