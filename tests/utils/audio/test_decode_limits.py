"""What a decoder may cost, and what is left when it is ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import anyio
import pytest

from utils.audio.decode import DecoderKilled, Limits, MediaError, decode, to_pcm
from utils.audio.pcm import PcmFile

Make = Callable[..., Path]
Children = Callable[[], list[int]]
Wait = Callable[..., Awaitable[int]]
Refused = Callable[..., Coroutine[None, None, str]]

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_child_left")]
LIMITS = Limits(timeout=60)


async def test_bomb_is_cut_off(bomb: Path, refused: Refused) -> None:
    assert bomb.stat().st_size < 1 << 20
    assert await refused(bomb, Limits(max_seconds=1200)) == "too_long"


async def test_length_is_counted_to_the_sample(make_tone: Make, target: Path, refused: Refused) -> None:
    source = make_tone("in.flac", 2.0, "-ar", "16000")
    assert (await decode(source, target, limits=Limits(max_seconds=2))).frames == 32_000
    assert await refused(source, Limits(max_seconds=1.999)) == "too_long"


@pytest.mark.parametrize(("name", "length"), [("in.wav", 2), ("in.flac", 2)])
async def test_what_is_too_long_is_told_its_length_and_the_limit(
    make_tone: Make, target: Path, name: str, length: int
) -> None:
    with pytest.raises(MediaError, match=rf"it has {length} seconds and may have up to 1\.5 seconds"):
        await to_pcm(make_tone(name, length), target, limits=Limits(max_seconds=1.5))


async def test_wall_limit(bomb: Path, refused: Refused) -> None:
    assert await refused(bomb, Limits(max_seconds=40_000, timeout=0.2)) == "timeout"


async def test_cpu_limit(bomb: Path, refused: Refused) -> None:
    source_limits = Limits(max_seconds=40_000, timeout=120, cpu_seconds=1)
    assert await refused(bomb, source_limits) == "timeout"


async def test_child_that_was_stopped_is_ended(bomb: Path, first_child: Wait, refused: Refused) -> None:
    task = asyncio.create_task(refused(bomb, Limits(max_seconds=40_000, timeout=2)))
    os.kill(await first_child(), signal.SIGSTOP)
    assert await task == "timeout"


async def test_limits_are_set_on_the_child(bomb: Path, first_child: Wait, refused: Refused) -> None:
    limits = Limits(max_seconds=30_000, timeout=60, cpu_seconds=100, memory_bytes=900 << 20)
    task = asyncio.create_task(refused(bomb, limits))
    pid = await first_child()
    os.kill(pid, signal.SIGSTOP)  # or it may be done before we look
    async with asyncio.timeout(30):
        while "Max open files            32 " not in (text := Path(f"/proc/{pid}/limits").read_text(encoding="utf-8")):
            await asyncio.sleep(0.01)
    wanted = {"Max cpu time": 100, "Max address space": 900 << 20, "Max core file size": 0, "Max open files": 32}
    wanted["Max file size"] = 30_000 * 32_000 + (1 << 20)
    soft = {line[:26].strip(): line[26:].split()[0] for line in text.splitlines()[1:]}
    assert {name: soft[name] for name in wanted} == {name: str(value) for name, value in wanted.items()}
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""
    assert os.getsid(pid) == pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_child_ended_from_outside(bomb: Path, target: Path, first_child: Wait, how: signal.Signals) -> None:
    task = asyncio.create_task(decode(bomb, target, limits=Limits(max_seconds=40_000)))
    pid = await first_child()
    async with asyncio.timeout(10):
        while not (target.exists() and target.stat().st_size):
            await asyncio.sleep(0.005)
    os.kill(pid, how)
    with pytest.raises(DecoderKilled):
        await task
    assert not target.exists()


async def test_cancelling_ends_the_child(bomb: Path, target: Path, first_child: Wait, children: Children) -> None:
    task = asyncio.create_task(decode(bomb, target, limits=Limits(max_seconds=40_000)))
    await first_child()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not target.exists()
    assert children() == []


async def test_cancelling_at_any_moment_leaves_nothing(bomb: Path, target: Path, children: Children) -> None:
    for delay in (0, 0.001, 0.003, 0.006, 0.01, 0.03, 0.1):
        with anyio.move_on_after(delay):  # a scope goes on cancelling whatever the clean-up waits for
            await decode(bomb, target, limits=Limits(max_seconds=40_000))
        async with asyncio.timeout(10):
            while children() or target.exists():
                await asyncio.sleep(0.005)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_full_disk(make_tone: Make, target: Path, refused: Refused) -> None:
    source = make_tone("in.flac", 30.0)
    target.symlink_to("/dev/full")
    assert await refused(source) == "no_space"
    assert not target.is_symlink()


async def test_killed_child_is_started_once_more(bomb: Path, target: Path, first_child: Wait) -> None:
    async def run() -> PcmFile:
        return await to_pcm(bomb, target, limits=Limits(max_seconds=9000))

    once = asyncio.create_task(run())
    first = await first_child()
    os.kill(first, signal.SIGKILL)
    with pytest.raises(MediaError) as caught:
        await once
    assert caught.value.reason == "too_long"

    twice = asyncio.create_task(run())
    first = await first_child()
    os.kill(first, signal.SIGKILL)
    os.kill(await first_child(first), signal.SIGKILL)
    with pytest.raises(DecoderKilled):
        await twice
    assert not target.exists()
