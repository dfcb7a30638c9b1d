"""Servers of others that engines speak to over HTTP: pooled connections, deadlines, limits, and errors made ours.

For worker processes: calls block, any thread may make them; they end soon after the call of the worker that they are
made for is cancelled (core.scheduler.Cancelled). Messages for clients name the model, not the server; the
key is in no message and no line of the log.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import httpx
import orjson

from core import errors, remote_refusals
from core.remote_network import until, watch
from core.remote_options import SYSTEM_PROXY, RemoteOptions
from voice_stack import __version__

log = logging.getLogger(__name__)

MAX_ANSWER = 16 << 20
"""Bytes of a JSON answer."""
_MAX_REFUSAL = 1 << 16
# Shorter than the 5 s after which uvicorn and cpp-httplib close an idle connection: one is not used as it is closed.
_KEEP_SECONDS = 4.0
_STALE_SECONDS = 1.0
"""Within these a kept connection shows that it is none; what breaks off later was at work."""
# What servers send that tell of something else than what they were asked for.
_NO_SOUND = ("text/", "application/json", "audio/mpeg")
_MISCONFIGURED = {
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.PAYMENT_REQUIRED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
}
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}


class Remote:
    """A server; `name` is what messages call the model behind it. Close it at the end.

    All calls raise Unavailable where the server cannot be reached, is slow or fails (final where only a change of the
    configuration helps: 401 to 405 and redirects), QueueFull for 429, and InvalidRequest with the server's own words
    for any other 4xx.
    """

    def __init__(
        self,
        options: RemoteOptions,
        *,
        name: str,
        key: str | None = None,
        key_header: str = "Authorization",
        prefix: str = "",
    ) -> None:
        self._options = options
        self._name = name
        self._key = key
        self._where = f"{options.host} (for {name})"
        headers = {"User-Agent": f"voice-stack/{__version__}", "Accept-Encoding": "identity"}
        if key:
            headers[key_header] = f"Bearer {key}" if key_header == "Authorization" else key
        self._client = _client(options, options.url + prefix, headers)

    def close(self) -> None:
        """Close the connections; twice is fine."""
        self._client.close()

    def get(self, path: str, **params: str) -> Any | None:
        """Return the JSON of an answer, None where the server has no such path."""
        with self._asked("GET", path, params=params) as (answer, deadline):
            if answer.status_code in _ABSENT:
                return None
            return self._json(b"".join(self._chunks(answer, deadline, MAX_ANSWER)))

    def post(self, path: str, **content: Any) -> Any:
        """Return the JSON of an answer; `content` is httpx's (data, files, json, params)."""
        return self._json(self.post_bytes(path, **content))

    def post_bytes(self, path: str, **content: Any) -> bytes:
        """Return the answer to a request."""
        with self._asked("POST", path, **content) as (answer, deadline):
            return b"".join(self._chunks(answer, deadline, MAX_ANSWER))

    @contextmanager
    def sound(self, path: str, *, limit: int, **content: Any) -> Iterator[Iterator[bytes]]:
        """Hand over the PCM that answers a POST as it comes, at most `limit` bytes; leaving closes the connection."""
        with self._asked("POST", path, **content) as (answer, deadline):
            kind = answer.headers.get("Content-Type", "").lower()
            if answer.is_success and kind.startswith(_NO_SOUND):
                raise self.broken(f"{errors.shortened(kind)} in place of PCM")
            yield self._chunks(answer, deadline, limit)

    def broken(self, what: str) -> errors.Unavailable:
        """Return the error for an answer that is not what was asked for; the same again would be no better."""
        log.warning("%s answered with %s", self._where, what)
        return _final(f"the server behind {self._name} answers with {what}")

    @contextmanager
    def _asked(self, method: str, path: str, **content: Any) -> Iterator[tuple[httpx.Response, float]]:
        """Hand over an answer, and when its body must have been read (time.monotonic), and close it."""
        deadline = time.monotonic() + self._options.timeout
        with self._translated():
            with until(deadline):
                answer = self._send(self._client.build_request(method, path, **content))
            try:
                yield answer, deadline
            finally:
                answer.close()

    def _send(self, request: httpx.Request) -> httpx.Response:
        began = time.monotonic()
        try:
            return self._client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if time.monotonic() - began > _STALE_SECONDS:
                raise
            # A kept connection that the server closed as it was used; nothing here does harm when done twice.
            return self._client.send(request, stream=True)

    def _chunks(self, answer: httpx.Response, deadline: float, limit: int) -> Iterator[bytes]:
        if not answer.is_success:
            raise self._refusal(answer, deadline)
        size = 0
        for chunk in _read(answer, deadline):
            size += len(chunk)
            if size > limit:
                raise self.broken(f"more than {limit} bytes")
            yield chunk

    def _json(self, body: bytes) -> Any:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self.broken("something that is not JSON") from None

    def _refusal(self, answer: httpx.Response, deadline: float) -> errors.VoiceStackError:
        status = answer.status_code
        if status in _MISCONFIGURED or answer.is_redirect:
            # Not what it says: some repeat a part of the key.
            log.warning("%s answered %d to %s", self._where, status, answer.request.url.path)
            return _final(
                f"the server behind {self._name} answers {status}; "
                "whoever runs this service must check its url, model and key"
            )
        said, param = self._said(answer, deadline)
        later = remote_refusals.retry_after(answer.headers.get("Retry-After", ""))
        log.warning("%s answered %d to %s: %s", self._where, status, answer.request.url.path, said or "nothing")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            busy = errors.QueueFull(f"the server behind {self._name} has too much to do; try again soon")
            busy.retry_after = later
            return busy
        if answer.is_client_error and status not in _LATER:
            return errors.InvalidRequest(said or f"the server behind {self._name} answers {status}", param=param)
        failed = errors.Unavailable(f"the server behind {self._name} failed with status {status}; try again")
        failed.retry_after = later
        return failed

    def _said(self, answer: httpx.Response, deadline: float) -> tuple[str, str | None]:
        """Return the message of a refusal and the field it is about, without the key."""
        body = b""
        for chunk in _read(answer, deadline):
            body += chunk
            if len(body) > _MAX_REFUSAL:
                break
        try:
            message, param = remote_refusals.message(orjson.loads(body))
        except orjson.JSONDecodeError:
            message, param = body[: 4 * errors.ECHOED].decode(errors="replace"), None
        if self._key:
            message = message.replace(self._key, "***")
        printable = "".join(letter if letter.isprintable() else " " for letter in message)
        return errors.shortened(" ".join(printable.split())), param

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            log.warning("%s did not answer in time (%s)", self._where, type(error).__name__)
            raise errors.Unavailable(f"the server behind {self._name} did not answer in time; try again") from error
        except (httpx.ConnectError, httpx.ProxyError) as error:
            log.warning("%s cannot be reached: %s", self._where, error)
            raise errors.Unavailable(f"the server behind {self._name} cannot be reached; try again") from error
        except httpx.HTTPError as error:
            log.warning("%s broke off: %s", self._where, type(error).__name__)
            raise errors.Unavailable(f"the server behind {self._name} broke off; try again") from error


def _read(answer: httpx.Response, deadline: float) -> Iterator[bytes]:
    chunks = answer.iter_bytes()
    while True:
        # Set anew for every chunk: whoever takes them may do other things in between, in other threads.
        with until(deadline):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


@contextmanager
def checked(name: str) -> Iterator[None]:
    """Turn what is final for a load into ModelBroken: the service stays up, and does not try on its own again."""
    try:
        yield
    except errors.InvalidRequest as error:
        raise errors.ModelBroken(f"{name} cannot be used: {error.message}") from error
    except errors.Unavailable as error:
        if error.is_final:
            raise errors.ModelBroken(error.message) from error
        raise


def _client(options: RemoteOptions, base: str, headers: dict[str, str]) -> httpx.Client:
    proxy = options.proxy.get_secret_value() if options.proxy else None
    silent = options.read_timeout
    try:
        client = httpx.Client(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(silent, connect=options.connect_timeout),
            limits=httpx.Limits(max_connections=options.concurrency + 2, keepalive_expiry=_KEEP_SECONDS),
            proxy=None if proxy == SYSTEM_PROXY else proxy,
            trust_env=proxy == SYSTEM_PROXY,
            verify=ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True,
        )
    except OSError as error:  # ssl.SSLError is one
        raise errors.ConfigurationError("the certificates of the option 'ca_file' cannot be read") from error
    except (ValueError, httpx.InvalidURL) as error:
        # Not the message: it repeats the address, which may hold a password.
        raise errors.ConfigurationError("the option 'url' or 'proxy' is no address that can be used") from error
    watch(client)
    return client


def _final(message: str) -> errors.Unavailable:
    error = errors.Unavailable(message)
    error.is_final = True
    return error
