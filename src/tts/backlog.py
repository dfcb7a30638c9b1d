"""What was made and not taken yet: a little in memory, the rest in a file, so that slow listeners cost no memory."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import IO

from core.errors import TextTooLong
from core.spool import storage_error

MEMORY_BYTES = 4 << 20
WRITE_BYTES = 1 << 20
READ_BYTES = 256 << 10
MAX_FILE_BYTES = 1 << 30


class Backlog:
    """Bytes in order, taken from `parts` as soon as they are there whoever waits for them. Made by `backlog`."""

    def __init__(self, parts: AsyncGenerator[bytes, None], folder: Path) -> None:
        self.total = 0
        """Bytes that came."""
        self._parts = parts
        # In this order: what is in memory, what is in the file, and what waits to be written there.
        self._memory: deque[bytes] = deque()
        self._file = WaitingFile(folder)
        self._tail = bytearray()
        self._held = 0
        self._news = asyncio.Event()
        self._filling = asyncio.create_task(self._fill())

    async def begun(self) -> None:
        """Wait for the first bytes; raise what came instead."""
        while not (self.total or self._filling.done()):
            self._news.clear()
            await self._news.wait()
        if not self.total:
            self._filling.result()

    async def complete(self) -> None:
        """Wait for the last part; raise what came instead."""
        await asyncio.shield(self._filling)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes, forgetting them, then raise what broke off `parts`."""
        while True:
            if self._memory:
                data = self._memory.popleft()
                self._held -= len(data)
                yield data
            elif self._file.waiting:
                yield await asyncio.to_thread(self._file.read, READ_BYTES)
            elif self._tail:
                data = bytes(self._tail)
                self._tail.clear()
                yield data
            elif self._filling.done():
                self._filling.result()
                return
            else:
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        """End the filling and remove the file."""
        self._filling.cancel()
        await asyncio.gather(self._filling, return_exceptions=True)
        # In a thread of its own and not awaited: a read or write may still be under way there.
        asyncio.get_running_loop().run_in_executor(None, self._file.close)

    async def _fill(self) -> None:
        try:
            async with aclosing(self._parts):
                async for part in self._parts:
                    self.total += len(part)
                    await self._keep(part)
                    self._news.set()
        except OSError as error:
            raise storage_error(error) from error
        finally:
            asyncio.get_running_loop().call_soon(self._news.set)  # when this task is done

    async def _keep(self, part: bytes) -> None:
        if not (self._file.waiting or self._tail) and self._held + len(part) <= MEMORY_BYTES:
            self._memory.append(part)
            self._held += len(part)
            return
        self._tail += part
        if len(self._tail) >= WRITE_BYTES:
            data = bytes(self._tail)
            self._tail.clear()
            await asyncio.to_thread(self._file.write, data)


@asynccontextmanager
async def backlog(parts: AsyncGenerator[bytes, None], folder: Path) -> AsyncIterator[Backlog]:
    """Begin to take from `parts`; leaving the context ends it. The file, if one is needed, is in `folder`.

    When the file is full, `parts` are closed and their end is a TextTooLong.
    """
    made = Backlog(parts, folder)
    try:
        yield made
    finally:
        await made.close()


class WaitingFile:
    """A file without a name that is written at its end and read from its start, by one thread at a time.

    What waits there is limited. All methods block.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()
        self._written = 0
        self._read = 0

    @property
    def waiting(self) -> int:
        """Bytes to be read."""
        return self._written - self._read

    def write(self, data: bytes) -> None:
        """Append. Raises TextTooLong when the file is full, OSError."""
        with self._lock:
            if self._written + len(data) > MAX_FILE_BYTES:
                raise TextTooLong(
                    f"over {MAX_FILE_BYTES >> 20} MiB of the speech wait for the listener; send the text in parts",
                    param="input",
                )
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by `close`
            self._file.seek(self._written)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            self._written += len(data)

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most so many."""
        with self._lock:
            if self._file is None:
                return b""
            self._file.seek(self._read)
            data = self._file.read(min(size, self.waiting))
            self._read += len(data)
            if not self.waiting:
                self._file.truncate(0)
                self._written = self._read = 0
            return data

    def close(self) -> None:
        """Remove the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
