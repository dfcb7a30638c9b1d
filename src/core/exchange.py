"""The outermost layer: every request gets an id, is checked for its key, timed, and answered whatever happens."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import errors, logs
from core.answers import ERROR_HEADER, error_response
from core.auth import OWNER, ApiKeys
from core.body_limit import check_declared, param_of
from core.dialect import Dialect
from core.disconnect import ClientLeft
from core.errors import VoiceStackError, shortened
from core.metrics import Metrics

log = logging.getLogger(__name__)
DRAIN_SECONDS = 30.0
DRAIN_BYTES = 1 << 30
"""What is read, to be thrown away, of a request that was answered before its body had come."""
CLIENT_LEFT = 499
"""The status, nginx's, that logs and numbers have for a request whose client left before the answer."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_QUIET = {"/livez", "/readyz", "/health", "/metrics"}


class RequestMiddleware:
    """Gives every request an id, checks its key, times it, and turns what nobody caught into one well-formed answer."""

    def __init__(self, app: ASGIApp, *, keys: ApiKeys, max_body: int, metrics: Metrics, dialect: Dialect) -> None:
        self._app = app
        self._dialect = dialect
        self._metrics = metrics
        self._keys = keys
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._metrics, self._dialect)
        scope = exchange.scope
        token = logs.request_id.set(exchange.id)
        try:
            try:
                self._check(scope)
                await self._app(scope, exchange.receive, exchange.send)
            except asyncio.CancelledError:
                # Only the server cancels a request: when the time it had to finish at the end is over.
                await exchange.fail(errors.Draining("the service is shutting down"))
            except Exception as error:  # noqa: BLE001 - the last handler of a request
                await exchange.fail(error)
        finally:
            exchange.end()
            logs.request_id.reset(token)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        owner = self._keys.check(scope["method"], scope["path"], headers)
        scope.setdefault("state", {})[OWNER] = owner
        # Before anything is read or made for it; a route with a lower limit of its own looks again.
        check_declared(headers.get("content-length"), self._max_body, param=param_of(scope["path"]))


class Exchange:
    """One request and its answer, seen from the outermost layer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, metrics: Metrics, dialect: Dialect) -> None:
        self.scope = _as_routed(scope)
        """The request as the routes see it."""
        self._method = scope["method"]
        self._ended = False
        self._receive = receive
        self._send = send
        self._metrics = metrics
        self._text = dialect.speaks_text(self.scope["path"])
        self._started = time.monotonic()
        self._first_byte: float | None = None
        self._status: int | None = None
        self._drains = False
        headers = Headers(scope=scope)
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        given = headers.get("x-request-id", "")
        metrics.begin_request()
        self.id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"

    async def receive(self) -> Message:
        """Return the next message of the server, and notice the end of the body."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        """Hand a message to the server: the head with our headers, an early refusal so that it can be read."""
        if self._ended:
            return
        if message["type"] == "http.response.start":
            self._begin(message)
            if self._method == "HEAD":
                # The head is all of the answer; what waits for its client to leave, a stream, sees it leave now.
                self._ended = True
                await self._send(message)
                message = {"type": "http.response.body", "body": b""}
                message = await self._linger(message) if self._drains else message
        elif message["type"] == "http.response.body":
            if self._first_byte is None and message.get("body"):
                self._first_byte = time.monotonic() - self._started
            if self._drains and not message.get("more_body", False):
                message = await self._linger(message)
        await self._send(message)

    async def _linger(self, last: Message) -> Message:
        """Send the last message of a refusal and return what ends the answer once the rest of the body has come.

        The answer is whole for its reader then. Were the connection closed at once it would be reset, and the answer
        lost to a client that still writes.
        """
        await self._send({**last, "more_body": True})
        left = DRAIN_BYTES
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while self._unread and left > 0:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            log.info("the client was still sending %g s after it was refused", DRAIN_SECONDS)
        return {"type": "http.response.body", "body": b""}

    def _begin(self, message: Message) -> None:
        self._status = message["status"]
        headers = MutableHeaders(scope=message)
        headers["x-request-id"] = self.id
        headers["openai-processing-ms"] = str(self._elapsed_ms())
        headers["x-content-type-options"] = "nosniff"
        if code := headers.get(ERROR_HEADER):
            self._metrics.count_error(code)
        if self._unread and message["status"] >= 400:  # noqa: PLR2004 - the errors
            self._drains = True
            headers["connection"] = "close"

    async def fail(self, error: Exception) -> None:
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
            await error_response(error, text=self._text)(self.scope, self.receive, self.send)
        else:
            # The server sees an unfinished answer and drops the connection, which is what the client must see.
            log.warning("the answer broke off: %s", error.message)
            self._metrics.count_error(error.code)

    def end(self) -> None:
        """Count the request and write its line."""
        path = self.scope["path"]
        status = self._status or CLIENT_LEFT
        seconds = time.monotonic() - self._started
        template = getattr(self.scope.get("route"), "path", "none")
        self._metrics.end_request(template, self._method, status, seconds=seconds, first_byte=self._first_byte)
        level = logging.DEBUG if path in _QUIET else logging.INFO
        log.log(level, "%s %s %s %d ms", shortened(self._method), shortened(path), status, round(seconds * 1000))

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)


def _as_routed(scope: Scope) -> Scope:
    """Return a request as the routes know it: HEAD is a GET whose body stays away, and no path ends in a slash."""
    routed = dict(scope)
    if scope["method"] == "HEAD":
        routed["method"] = "GET"
    # A redirect would lose the body of a POST.
    routed["path"] = scope["path"].rstrip("/") or "/"
    return routed
