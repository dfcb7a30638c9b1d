"""API keys: who may call which route, whose things are whose, and who may change what is shared."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request

from core.dialect import OPENAI, Dialect
from core.errors import Forbidden, InvalidApiKey
from core.settings import ServiceSettings

PUBLIC_PATHS = frozenset({"/health", "/healthz", "/healthcheck", "/livez", "/readyz", "/ready", "/"})
LISTINGS = frozenset({"/models", "/audio/voices", "/audio/models"})
"""The lists that clients read without a key, below the prefix of the API or at the root."""
BROWSED = frozenset({"/docs", "/docs/oauth2-redirect", "/openapi.json"})
"""What people open in a browser, which can ask them for a password but sends no key."""
OWNER = "owner"
"""Where the request's state holds the digest of its key."""


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class ApiKeys:
    """The configured keys, kept as SHA-256; none configured means everybody may call."""

    def __init__(
        self, keys: Sequence[str], *, public_listings: bool, prefix: str = "/v1", dialect: Dialect = OPENAI
    ) -> None:
        self._digests = [_digest(key) for key in keys]
        self._listings = {place + path for place in ("", prefix) for path in LISTINGS} if public_listings else set()
        self._dialect = dialect

    def check(self, method: str, path: str, headers: Headers) -> str:
        """Return whose request it is, the hex digest of its key or ""; raise InvalidApiKey unless it may pass.

        Accepts `Authorization: Bearer KEY`, `api-key: KEY` and `x-api-key: KEY`, and on the routes of Bazarr, which can
        send nothing but an address with a name and a password in it, and on the pages for browsers, the password.
        """
        if not self._digests:
            return ""
        given = _given(headers, basic=path in BROWSED or self._dialect.may_use_basic(path))
        digest = _digest(given)
        # Every key is compared, so that the time says nothing about which one was near.
        if given and sum(hmac.compare_digest(digest, known) for known in self._digests):
            return digest.hex()
        if self._is_public(method, path):
            return ""
        told = "the API key is not valid" if given else "no API key was given; send 'Authorization: Bearer KEY'"
        error = InvalidApiKey(told)
        error.for_browser = path in BROWSED
        raise error

    def _is_public(self, method: str, path: str) -> bool:
        if method == "OPTIONS" or path in PUBLIC_PATHS:
            return True
        return method == "GET" and path.rstrip("/") in self._listings


def owner_of(request: HTTPConnection) -> str:
    """Return whose request it is: the hex digest of the key it came with, "" without one.

    What a request makes for itself, such as a job, belongs to its owner; where no keys are set there is only one, "".
    """
    return str(request.scope.get("state", {}).get(OWNER, ""))


def check_closed(settings: ServiceSettings, otherwise: str) -> None:
    """Raise Forbidden, with what is not done because of it, where the service is open to everybody on the network."""
    if settings.is_open:
        raise Forbidden(f"this service is open to the network without API_KEYS, so {otherwise}")


def require_closed(settings: ServiceSettings, otherwise: str) -> Callable[[], Awaitable[None]]:
    """Return a dependency for routes that are not for everybody on the network; it raises what `check_closed` does."""

    async def may_pass() -> None:
        check_closed(settings, otherwise)

    return may_pass


def require_changes(settings: ServiceSettings) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency for the routes that change what all callers share: models, voices, consents."""

    async def may_pass(request: Request) -> None:
        check_closed(settings, "nothing on it can be changed")
        if not settings.api_keys:
            _check_page(request.headers, settings.cors_origins)

    return may_pass


def _check_page(headers: Headers, allowed: Sequence[str]) -> None:
    """Raise Forbidden for the page of another site: its visitor's browser reaches a service that is for this machine.

    Such a request may need no preflight. A name may have been made to lead here (DNS rebinding), a number cannot.
    """
    origin = headers.get("origin")
    if not origin or origin in allowed or "*" in allowed:
        return
    if origin.partition("://")[2] != headers.get("host") or not _is_local(origin):
        raise Forbidden("pages of other sites cannot change anything here; CORS_ORIGINS names those that may")


def _is_local(origin: str) -> bool:
    with suppress(ValueError):
        host = urlsplit(origin).hostname or ""
        return host == "localhost" or bool(ip_address(host))
    return False


def _given(headers: Headers, *, basic: bool) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    if basic and scheme.lower() == "basic":
        return _password(key)
    return headers.get("api-key") or headers.get("x-api-key") or ""


def _password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]
