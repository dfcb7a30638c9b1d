"""What servers of others say when they refuse."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_MAX_RETRY_AFTER = 60  # seconds: nobody is told to wait for longer


def message(data: Any) -> tuple[str, str | None]:
    """Return what a refusal says, in the shapes of OpenAI, whisper.cpp, FastAPI and ElevenLabs."""
    found = data
    for name in ("error", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
            break
    if isinstance(found, list):
        found = found[0] if found else ""
    if not isinstance(found, dict):
        return (found if isinstance(found, str) else ""), None
    said, param = found.get("message") or found.get("msg"), found.get("param")
    known = isinstance(param, str) and param.isidentifier()
    return (said if isinstance(said, str) else ""), (param if known else None)


def retry_after(given: str) -> int | None:
    """Return the seconds of Retry-After, which may be a date; None where it says nothing that can be used."""
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(given.strip()).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(math.ceil(seconds), 1), _MAX_RETRY_AFTER) if math.isfinite(seconds) else None
