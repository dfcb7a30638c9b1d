"""Talking to a running service from the command line."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import orjson

from core import errors


class ServiceGone(errors.Unavailable):
    """Nothing answers at the service's address, or it broke off in the middle."""


def service_url(own: str, *, local: bool, url: str | None) -> str | None:
    """Return the service to use: the one at `url`, else at our `own` address when it answers; None for no service."""
    if local:
        return None
    return url or (own if _answers(own) else None)


def root(url: str) -> str:
    """Return a service's address without the `/v1` that OpenAI's clients have; its routes answer there, too."""
    return url.rstrip("/").removesuffix("/v1")


def _answers(url: str) -> bool:
    """Return whether a ready service is at `url`."""
    try:
        return httpx.get(f"{root(url)}/readyz", timeout=1.0, trust_env=False).status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def key_header(keys: Sequence[str]) -> dict[str, str]:
    """Return the header that opens a service which has these API keys."""
    return {"Authorization": f"Bearer {keys[0]}"} if keys else {}


def gone(url: str, error: Exception) -> ServiceGone:
    """Return the error for a connection that failed."""
    return ServiceGone(f"the service at {url} broke off: {str(error) or type(error).__name__}")


async def raise_for_error(response: httpx.Response) -> None:
    """Raise the service's own error for an answer that is not a success."""
    if response.is_success:
        return
    body = await response.aread()
    try:
        told = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        told = None
    unnamed = errors.Unavailable if response.is_server_error else errors.InvalidRequest
    error = told_error(told, otherwise=unnamed(f"the service answered {response.status_code}"))
    wait = response.headers.get("retry-after", "")
    error.retry_after = int(wait) if wait.isdecimal() else None
    raise error


def told_error(told: object, *, otherwise: errors.VoiceStackError) -> errors.VoiceStackError:
    """Return the error that an OpenAI error object tells of, in our class for its code; `otherwise` without one."""
    if not isinstance(told, dict) or not told.get("message"):
        return otherwise
    cls = _by_code(errors.VoiceStackError, str(told.get("code"))) or type(otherwise)
    return cls(str(told["message"]), param=told.get("param"))


def _by_code(cls: type[errors.VoiceStackError], code: str) -> type[errors.VoiceStackError] | None:
    """Return the first class of the tree that sets this code itself."""
    if cls.__dict__.get("code") == code:
        return cls
    return next((found for child in cls.__subclasses__() if (found := _by_code(child, code))), None)
