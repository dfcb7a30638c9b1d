"""How large a request's body may be, and the one error that says so."""

from __future__ import annotations

import re

from core.errors import FileTooLarge

_RECORDINGS = re.compile(r".*/audio/(transcriptions(/verbose)?|translations|jobs)")


def param_of(path: str) -> str | None:
    """Return the field that makes the bodies of a route large, None where there is not one alone."""
    return "file" if _RECORDINGS.fullmatch(path) else None


def check_declared(length: str | None, limit: int, *, advice: str = "", param: str | None = "file") -> None:
    """Raise FileTooLarge where the content length, None without one, says that the body has more than `limit` bytes."""
    if int(length or 0) > limit:
        raise too_large(limit, advice=advice, param=param)


def too_large(limit: int, *, advice: str = "", param: str | None = "file") -> FileTooLarge:
    """Return the error for a body of more than `limit` bytes; `advice` says what to send instead."""
    return FileTooLarge(f"the body is larger than the {limit >> 20} MiB this service accepts{advice}", param=param)
