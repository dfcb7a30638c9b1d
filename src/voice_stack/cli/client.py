"""Talking to a running service from the command line."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import orjson

from core import errors


def answers(url: str) -> bool:
    """Return whether a ready service is at `url`."""
    try:
        return httpx.get(f"{url}/readyz", timeout=1.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def key_header(keys: Sequence[str]) -> dict[str, str]:
    """Return the header that opens a service which has these API keys."""
    return {"Authorization": f"Bearer {keys[0]}"} if keys else {}


async def raise_for_error(response: httpx.Response) -> None:
    """Raise the service's own error for an answer that is not a success."""
    if response.is_success:
        return
    body = await response.aread()
    try:
        message = str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = f"the service answered {response.status_code}"
    raise errors.InvalidRequest(message)
