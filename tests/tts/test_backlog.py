from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from core.errors import EngineCrashed, TextTooLong
from tts.backlog import MEMORY_BYTES, WaitingFile, backlog

pytestmark = pytest.mark.anyio
PART = MEMORY_BYTES // 8


async def made(count: int, *, fails: bool = False) -> AsyncGenerator[bytes, None]:
    for number in range(count):
        yield bytes([number % 251]) * (PART + number)
    if fails:
        raise EngineCrashed("gone")


def expected(count: int) -> bytes:
    return b"".join(bytes([number % 251]) * (PART + number) for number in range(count))


async def collect(chunks: AsyncGenerator[bytes, None], into: bytearray) -> None:
    async for data in chunks:
        into += data


def open_files(folder: Path) -> int:
    links = [each for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return sum(str(folder) in str(link.readlink()) for link in links if link.is_symlink())


@pytest.mark.parametrize("count", [0, 1, 7, 40])
async def test_all_of_it_comes_back_in_order_whoever_waits_for_whom(count: int, tmp_path: Path) -> None:
    async with backlog(made(count), tmp_path) as late:
        await late.complete()
        assert late.total == len(expected(count))
        assert b"".join([data async for data in late.chunks()]) == expected(count)
    async with backlog(made(count), tmp_path) as soon:
        assert b"".join([data async for data in soon.chunks()]) == expected(count)
    assert list(tmp_path.iterdir()) == []


async def test_what_does_not_fit_into_memory_is_in_a_file_that_goes_away(tmp_path: Path) -> None:
    async with backlog(made(40), tmp_path) as held:
        await held.complete()
        assert open_files(tmp_path) == 1
        async with aclosing(held.chunks()) as chunks:
            assert (await anext(chunks))[:1] == b"\0"
    for _ in range(100):
        if not open_files(tmp_path):
            break
        await asyncio.sleep(0.02)
    assert open_files(tmp_path) == 0


async def test_what_went_wrong_comes_after_what_went_well(tmp_path: Path) -> None:
    async with backlog(made(3, fails=True), tmp_path) as held:
        got = bytearray()
        with pytest.raises(EngineCrashed):
            await collect(held.chunks(), got)
        assert got == expected(3)
        with pytest.raises(EngineCrashed):
            await held.complete()


async def test_a_full_file_ends_the_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.backlog.MAX_FILE_BYTES", 2 << 20)
    parts = made(10_000)
    async with backlog(parts, tmp_path) as held:
        with pytest.raises(TextTooLong):
            await held.complete()
        assert held.total < MEMORY_BYTES + (5 << 20)
        with pytest.raises(StopAsyncIteration):
            await anext(parts)


async def test_a_file_that_was_read_is_not_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.backlog.MAX_FILE_BYTES", 1 << 20)
    file = WaitingFile(tmp_path)
    for number in range(4):
        file.write(bytes([number]) * (1 << 20))
        assert b"".join(file.read(1 << 19) for _ in range(2)) == bytes([number]) * (1 << 20)
    file.close()


async def test_leaving_stops_the_making(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            closed.set()

    parts = endless()
    async with aclosing(parts), backlog(parts, tmp_path) as held, aclosing(held.chunks()) as chunks:
        assert await anext(chunks) == b"x"
    assert closed.is_set()


async def test_what_came_instead_of_the_first_bytes_is_raised(tmp_path: Path) -> None:
    async with backlog(made(0, fails=True), tmp_path) as nothing:
        with pytest.raises(EngineCrashed):
            await nothing.begun()
    async with backlog(made(1, fails=True), tmp_path) as some:
        await some.begun()
        assert some.total == PART
    async with backlog(made(0), tmp_path) as empty:
        await empty.begun()
