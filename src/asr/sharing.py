"""Work that identical requests share: started by the first, read by all from its beginning, ended with the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")
Source = Callable[[], AbstractAsyncContextManager[AsyncIterable[T]]]


class Shared(Generic[T]):
    """The work in progress, by key. Clients send the same again: after a timeout of theirs, or twice at once."""

    def __init__(self) -> None:
        self._runs: dict[Hashable, _Run[T]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def join(self, key: Hashable | None, source: Source[T]) -> AsyncIterator[AsyncIterable[T]]:
        """Give all items of the work with this key, those that came already included; None is shared with nobody.

        Where no such work is in progress, `source` is opened and read to its end, and closed early when the last
        reader leaves. What it raises is raised in every reader: while it opens, on entering here; later, to those who
        iterate.
        """
        key = object() if key is None else key
        run = self._runs.get(key)
        if run is None or run.task.done():
            run = self._runs[key] = _Run(source)
            self._tasks.add(run.task)
            run.task.add_done_callback(self._tasks.discard)
        run.readers += 1
        try:
            await run.opened()
            yield run
        finally:
            run.readers -= 1
            if not run.readers:
                run.task.cancel()
                if self._runs.get(key) is run:
                    del self._runs[key]

    async def close(self) -> None:
        """End all work and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Run(Generic[T]):
    """One piece of work, with what it has yielded so far."""

    def __init__(self, source: Source[T]) -> None:
        self.readers = 0
        self._items: list[T] = []
        self._opened = False
        self._news = asyncio.Event()
        # A context of its own: the request that it logs under may be gone long before the work ends.
        self.task = asyncio.create_task(self._read(source), context=Context())
        self.task.add_done_callback(self._ended)

    async def _read(self, source: Source[T]) -> None:
        async with source() as items:
            self._opened = True
            self._tell()
            async for item in items:
                self._items.append(item)
                self._tell()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # or asyncio complains about one that no reader stayed to see
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def opened(self) -> None:
        """Wait for the source to be open; raise why it could not be opened."""
        while not self._opened:
            if self.task.done():
                self.task.result()
            await self._news.wait()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        """Yield every item from the first on, then raise what ended the work, if anything did."""
        index = 0
        while True:
            while index < len(self._items):
                yield self._items[index]
                index += 1
            if self.task.done():
                self.task.result()
                return
            await self._news.wait()
