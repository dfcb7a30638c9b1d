"""How large a request's body may be, and the one error that says so."""

from __future__ import annotations

from core.errors import FileTooLarge


def check_declared(length: str | None, limit: int, *, advice: str = "") -> None:
    """Raise FileTooLarge where the content length, None without one, says that the body has more than `limit` bytes."""
    if int(length or 0) > limit:
        raise too_large(limit, advice=advice)


def too_large(limit: int, *, advice: str = "", param: str | None = "file") -> FileTooLarge:
    """Return the error for a body of more than `limit` bytes; `advice` says what to send instead."""
    return FileTooLarge(f"the body is larger than the {limit >> 20} MiB this service accepts{advice}", param=param)
