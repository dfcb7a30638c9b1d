"""Connections that are given up at a deadline, and as soon as nobody waits for what the thread that reads does."""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from core.scheduler import Cancelled
from core.worker import abandoned

_LOOK_SECONDS = 0.25
_THREAD = threading.local()


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Have what this thread reads and writes in here end at a time of time.monotonic, with httpx's timeouts."""
    _THREAD.deadline = deadline
    try:
        yield
    finally:
        del _THREAD.deadline


def watch(client: httpx.Client) -> None:
    """Have the client's requests raise Cancelled, and close their connections, when their call is cancelled.

    A thread that waits for a socket is not woken when another closes it, so it looks up from time to time.
    """
    # httpx has no argument for what httpcore takes
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        if isinstance(transport, httpx.HTTPTransport):
            pool = transport._pool  # noqa: SLF001
            pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(*args, **options))

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_unix_socket(*args, **options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        deadline = _deadline(timeout)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise httpcore.ReadTimeout("the deadline has passed")
            try:
                return self._inner.read(max_bytes, min(left, _LOOK_SECONDS))
            except httpcore.ReadTimeout:
                if abandoned():
                    raise Cancelled("nobody waits for the answer") from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = _deadline(timeout) - time.monotonic()
        if left <= 0:
            raise httpcore.WriteTimeout("the deadline has passed")
        self._inner.write(buffer, left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _deadline(timeout: float | None) -> float:
    """Return when a read or write has to end: after `timeout` seconds, and not after that of the whole request."""
    own = math.inf if timeout is None else time.monotonic() + timeout
    return min(own, getattr(_THREAD, "deadline", math.inf))
