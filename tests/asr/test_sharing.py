"""Work that is shared: every reader sees everything, and it ends with the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asr.sharing import Shared
from core.errors import EngineCrashed, QueueFull


class Numbers:
    """A source of numbers, which come when they are pushed."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.opened = 0
        self.closed = 0
        self._queue: asyncio.Queue[int | BaseException | None] = asyncio.Queue()

    def push(self, *items: int | BaseException | None) -> None:
        for item in items:
            self._queue.put_nowait(item)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[AsyncIterable[int]]:
        self.opened += 1
        await asyncio.sleep(0)
        if self.refuses:
            raise QueueFull("no room")
        try:
            yield self._items()
        finally:
            self.closed += 1

    async def _items(self) -> AsyncGenerator[int, None]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item


async def read(shared: Shared[int], key: str | None, source: Numbers, *, at_most: int = 100) -> list[int]:
    found: list[int] = []
    async with shared.join(key, source) as items:
        if at_most == 0:
            return found
        async for item in items:
            found.append(item)
            if len(found) == at_most:
                break
    return found


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_all_readers_see_everything_whenever_they_come() -> None:
    shared, source = Shared[int](), Numbers()
    first = asyncio.create_task(read(shared, "a", source))
    source.push(1, 2)
    await settle()
    second = asyncio.create_task(read(shared, "a", source))
    await settle()
    source.push(3, None)
    assert await asyncio.gather(first, second) == [[1, 2, 3], [1, 2, 3]]
    assert (source.opened, source.closed) == (1, 1)


@pytest.mark.parametrize("keys", [("a", "b"), (None, None)])
async def test_what_is_not_alike_is_not_shared(keys: tuple[str | None, str | None]) -> None:
    shared = Shared[int]()
    sources = Numbers(), Numbers()
    for number, source in enumerate(sources):
        source.push(number, None)
    results = await asyncio.gather(*(read(shared, key, source) for key, source in zip(keys, sources, strict=True)))
    assert results == [[0], [1]]


async def test_it_goes_on_without_the_first_reader_and_ends_with_the_last() -> None:
    shared, source = Shared[int](), Numbers()
    first = asyncio.create_task(read(shared, "a", source))
    second = asyncio.create_task(read(shared, "a", source))
    source.push(1)
    await settle()
    first.cancel()
    await settle()
    assert (source.opened, source.closed) == (1, 0)
    source.push(2)
    await settle()
    second.cancel()
    await settle()
    assert (source.opened, source.closed) == (1, 1)


async def test_a_reader_may_stop_early_and_a_slow_one_misses_nothing() -> None:
    shared, source = Shared[int](), Numbers()
    source.push(1, 2, 3)
    async with shared.join("a", source) as items:
        assert await read(shared, "a", source, at_most=1) == [1]
        source.push(None)
        await settle()
        assert source.closed == 1, "nobody holds the source open"
        assert [item async for item in items] == [1, 2, 3]


async def test_what_has_ended_is_done_anew() -> None:
    shared, source = Shared[int](), Numbers()
    source.push(1, None)
    async with shared.join("a", source) as items:
        assert [item async for item in items] == [1]
        source.push(2, None)
        assert await read(shared, "a", source) == [2]
    assert source.opened == 2


async def test_a_source_that_cannot_be_opened_refuses_everybody() -> None:
    shared, source = Shared[int](), Numbers(refuses=True)
    results = await asyncio.gather(*(read(shared, "a", source) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [QueueFull] * 3
    assert source.opened == 1
    source.refuses = False
    source.push(1, None)
    assert await read(shared, "a", source) == [1]


async def test_an_error_comes_to_everybody_after_what_came_before_it() -> None:
    shared, source = Shared[int](), Numbers()
    seen: list[list[int]] = [[], []]

    async def collect(into: list[int]) -> None:
        async with shared.join("a", source) as items:
            async for item in items:
                into.append(item)  # noqa: PERF401 - what came before the error counts

    readers = [asyncio.create_task(collect(into)) for into in seen]
    source.push(1, EngineCrashed("gone"))
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(result) for result in results] == [EngineCrashed] * 2
    assert seen == [[1], [1]]


async def test_an_error_that_nobody_reads_is_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    shared, source = Shared[int](), Numbers()
    async with shared.join("a", source):
        source.push(EngineCrashed("gone"))
        await settle()
    await settle()
    assert not caplog.records


async def test_closing_ends_all_work() -> None:
    shared, sources = Shared[int](), [Numbers(), Numbers()]
    readers = [asyncio.create_task(read(shared, None, source)) for source in sources]
    await settle()
    await shared.close()
    assert [source.closed for source in sources] == [1, 1]
    await asyncio.gather(*readers, return_exceptions=True)
