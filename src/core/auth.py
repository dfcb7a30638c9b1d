"""API keys: who may call which route."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers

from core.errors import InvalidApiKey

PUBLIC_PATHS = frozenset({"/health", "/healthz", "/healthcheck", "/livez", "/readyz", "/ready", "/"})
LISTING_SUFFIXES = ("/models", "/audio/voices", "/audio/models")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class ApiKeys:
    """The configured keys, kept as SHA-256; none configured means everybody may call."""

    def __init__(self, keys: Sequence[str], *, public_listings: bool) -> None:
        self._digests = [_digest(key) for key in keys]
        self._public_listings = public_listings

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raise InvalidApiKey unless the request may pass.

        Accepts `Authorization: Bearer KEY`, `api-key: KEY` and `x-api-key: KEY`.
        """
        if not self._digests or self._is_public(method, path):
            return
        given = _given(headers)
        if not given:
            raise InvalidApiKey("no API key was given; send 'Authorization: Bearer KEY'")
        digest = _digest(given)
        # Every key is compared, so that the time says nothing about which one was near.
        if sum(hmac.compare_digest(digest, known) for known in self._digests) == 0:
            raise InvalidApiKey("the API key is not valid")

    def _is_public(self, method: str, path: str) -> bool:
        if method == "OPTIONS" or path in PUBLIC_PATHS:
            return True
        return self._public_listings and method == "GET" and path.rstrip("/").endswith(LISTING_SUFFIXES)


def _given(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("api-key") or headers.get("x-api-key") or ""
