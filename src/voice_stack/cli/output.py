"""The file a command writes: checked before the work begins, and never there half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from core.errors import InvalidRequest


def check(path: Path) -> None:
    """Raise InvalidRequest when nothing can be written at `path`."""
    if path.is_dir():
        raise InvalidRequest(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise InvalidRequest(f"cannot write {path}: the folder {path.parent} does not exist")
    if not os.access(path if _is_device(path) else path.parent, os.W_OK):
        raise InvalidRequest(f"cannot write {path}: permission denied")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets the name `path` when all went well, and vanishes otherwise."""
    if _is_device(path):
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    """Whether this is something like /dev/null or a pipe, which must not be replaced by a file."""
    return path.exists() and not path.is_file()
