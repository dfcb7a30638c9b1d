"""How large a request's body may be, and how what goes wrong while it is read is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import FileTooLarge, InvalidRequest
from core.spool import storage_error
from utils.multipart import MultipartError
from utils.uploads import BodyTooLarge

_RECORDINGS = re.compile(
    r".*/(audio/(transcriptions(/verbose)?|translations|jobs|diarization|speech/(timestamps|embedding))|vad)"
)


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


@contextmanager
def reading(refusal: FileTooLarge) -> Iterator[None]:
    """Turn what a body does wrong while it is read, or the disk, into errors for the client; `refusal` if too large."""
    try:
        yield
    except BodyTooLarge as error:
        raise refusal from error
    except MultipartError as error:
        raise InvalidRequest(str(error), param=error.field) from error
    except OSError as error:
        raise storage_error(error) from error
