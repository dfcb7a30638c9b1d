"""A file that arrives in chunks goes to disk while it comes; nothing is known here of forms or of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from utils.digest import sha256_of

T = TypeVar("T")
BATCH_BYTES = 1 << 20
"""So much waits in memory before it is written, in a thread and in one go."""


class BodyTooLarge(Exception):
    """The body has more than `max_bytes` bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """A file, spooled to `path`, which was named by us.

    `field` is the name of its form field; `filename` and `content_type` are the client's claims, possibly empty,
    possibly lies. `size` is in bytes, `sha256` the hex digest of the content.
    """

    field: str
    filename: str
    content_type: str
    path: Path
    size: int
    sha256: str


class ArrivingFile:
    """What has come of a file: `buffer` waits to be written, the rest is at `path`."""

    def __init__(self, path: Path, *, field: str, filename: str = "", content_type: str = "") -> None:
        self.buffer = bytearray()
        self._path = path
        self._claims = (field, filename, content_type)
        self._size = 0

    def flush(self) -> None:
        """Write what waits. Blocks; an empty file is made, too."""
        # Opened for each batch: an upload that is given up half-way leaves no open file behind.
        with self._path.open("ab") as file:
            file.write(self.buffer)
        self._size += len(self.buffer)
        self.buffer.clear()

    def uploaded(self) -> UploadedFile:
        """Write what waits and return the whole file. Blocks."""
        self.flush()
        field, filename, content_type = self._claims
        return UploadedFile(
            field=field,
            filename=filename,
            content_type=content_type,
            path=self._path,
            size=self._size,
            # Not while it arrives: Bazarr gives up a body that takes five seconds, and hashing can be slower than that.
            sha256=sha256_of(self._path),
        )


async def read_file(stream: AsyncIterator[bytes], file: ArrivingFile, *, max_bytes: int) -> UploadedFile:
    """Write a body that is one file to disk. Raises BodyTooLarge, and OSError when the disk is full."""
    received = 0
    async for chunk in stream:
        received = count(received, chunk, max_bytes)
        file.buffer += chunk
        if len(file.buffer) >= BATCH_BYTES:
            await in_thread(file.flush)
    return await in_thread(file.uploaded)


def count(received: int, chunk: bytes, max_bytes: int) -> int:
    """Return how many bytes there are with `chunk`; BodyTooLarge when they are too many."""
    if received + len(chunk) > max_bytes:
        raise BodyTooLarge(f"the body has more than {max_bytes} bytes")
    return received + len(chunk)


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread and stay until it has ended, cancelled or not: the caller removes the folder."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # or asyncio complains that nobody looked at it
        raise
