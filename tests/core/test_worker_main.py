"""The calls of a real worker process that share its device: cancelled, crashed, blamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core import errors
from core.process import Call, WorkerProcess, WorkerSpec

PATIENCE = 30.0
HOWS = pytest.mark.parametrize("how", ["turn", "work"])


@pytest.fixture(autouse=True)
def _handlers_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@asynccontextmanager
async def sharing(*, slots: int = 1, **config: str) -> AsyncIterator[WorkerProcess]:
    """A worker whose calls share `slots` slots."""
    spec = WorkerSpec(
        name="sharing",
        handler="worker_handlers:Sharing",
        config={"slots": slots} | config,
        slots=8,
        log_level="CRITICAL",
    )
    process = await WorkerProcess.start(spec)
    try:
        await process.ready()
        yield process
    finally:
        process.kill()
        await process.closed.wait()


async def ended(call: Call) -> list[Any]:
    """The data of all events of a call, when it has ended."""
    async with asyncio.timeout(PATIENCE):
        return [event.data async for event in call]


def start(process: WorkerProcess, how: str, then: str = "answer") -> Call:
    return process.open_call(how, {"then": then}, timeout=2 * PATIENCE)


async def go(process: WorkerProcess) -> None:
    """Let a call go on that is on the device; the process may not live long enough to answer."""
    process.open_call("go", {}, timeout=PATIENCE)


async def until(process: WorkerProcess, **counts: int) -> None:
    """Wait until so many are `running`, on the device indeed, and `waiting`."""
    async with asyncio.timeout(PATIENCE):
        while await ended(process.open_call("counts", {}, timeout=PATIENCE)) != [{"waiting": 0, "running": 0} | counts]:
            await asyncio.sleep(0.01)


@HOWS
async def test_a_cancelled_call_that_waits_ends_at_once_while_another_has_the_only_slot(how: str) -> None:
    async with sharing() as process:
        busy = start(process, "turn")
        await until(process, running=1)
        waiting = start(process, how)
        await until(process, running=1, waiting=1)
        waiting.cancel()
        assert await ended(waiting) == []
        await until(process, running=1)
        assert not busy.done.is_set()
        await go(process)
        assert await ended(busy) == [["answer"]]


async def test_a_cancelled_call_does_not_wait_for_its_work_on_the_device() -> None:
    async with sharing() as process:
        gone, next_one = start(process, "work"), start(process, "work", "next")
        await until(process, running=1, waiting=1)
        gone.cancel()
        assert await ended(gone) == []
        assert not next_one.done.is_set()
        for _ in range(2):
            await go(process)
        assert await ended(next_one) == ["next"]


@HOWS
async def test_a_crash_is_blamed_on_the_only_call_on_the_device_however_many_wait(how: str) -> None:
    async with sharing() as process:
        guilty = start(process, how, "die")
        await until(process, running=1)
        innocent = [start(process, how) for how in ("turn", "work")]
        await until(process, running=1, waiting=2)
        await go(process)
        with pytest.raises(errors.CrashedByRequest):
            await ended(guilty)
        for call in innocent:
            with pytest.raises(errors.EngineCrashed) as caught:
                await ended(call)
            assert caught.type is errors.EngineCrashed


@HOWS
async def test_a_crash_with_two_calls_on_the_device_is_blamed_on_none(how: str) -> None:
    async with sharing(slots=2) as process:
        calls = [start(process, how, "die") for _ in range(2)]
        await until(process, running=2)
        await go(process)
        for call in calls:
            with pytest.raises(errors.EngineCrashed) as caught:
                await ended(call)
            assert caught.type is errors.EngineCrashed


@HOWS
async def test_a_call_that_has_left_the_device_is_not_blamed_for_the_next(how: str) -> None:
    async with sharing() as process:
        before, guilty = start(process, how), start(process, how, "die")
        await until(process, running=1, waiting=1)
        await go(process)
        assert len(await ended(before)) == 1
        await until(process, running=1)
        await go(process)
        with pytest.raises(errors.CrashedByRequest):
            await ended(guilty)


async def test_nobody_is_blamed_for_the_work_of_a_call_that_was_cancelled() -> None:
    async with sharing() as process:
        guilty = start(process, "work", "die")
        await until(process, running=1)
        left = start(process, "work")
        await until(process, running=1, waiting=1)
        guilty.cancel()
        assert await ended(guilty) == []
        await go(process)
        with pytest.raises(errors.EngineCrashed) as caught:
            await ended(left)
        assert caught.type is errors.EngineCrashed


async def test_a_call_that_exits_is_answered_and_the_worker_lives_on() -> None:
    async with sharing() as process:
        with pytest.raises(errors.InternalError):
            await ended(process.open_call("exit", {}, timeout=PATIENCE))
        await until(process)


async def test_a_worker_that_is_stopped_fails_its_calls_and_waits_for_its_device(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    async with sharing(closed=str(closed)) as process:
        calls = [start(process, "work") for _ in range(2)]
        await until(process, running=1, waiting=1)
        # What runs goes on when the handler is closed, after the calls have ended.
        await process.stop(PATIENCE)
        for call in calls:
            with pytest.raises(errors.EngineCrashed) as caught:
                await ended(call)
            assert caught.type is errors.EngineCrashed
        assert closed.is_file()
