"""Who gets room, who is unloaded and who is kept out; with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import backoff, errors
from core.pool import WorkerPool
from core.process import WorkerSpec

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _handlers_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    """A pool with room for one model."""
    made = WorkerPool(1)
    yield made
    await made.close()


def spec(name: str, **config: Any) -> WorkerSpec:
    return WorkerSpec(name=name, handler="worker_handlers:Echo", config=config, log_level="ERROR")


def states(pool: WorkerPool) -> dict[str, str]:
    return {name: status.state for name, status in pool.by_model()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


class TestRoom:
    async def test_who_waits_for_room_keeps_nobody_waiting_who_needs_none(self, pool: WorkerPool) -> None:
        await pool.load(spec("one"))
        async with pool.worker(spec("one")).call("hang", {}) as hanging:
            waiting = asyncio.create_task(pool.load(spec("two")))
            await asyncio.sleep(0.1)
            async with asyncio.timeout(30):
                await pool.load(replace(spec("remote"), takes_slot=False))
            assert states(pool) == {"one": "ready", "two": "unloaded", "remote": "ready"}
            hanging.kill()
        await waiting
        assert states(pool)["two"] == "ready"

    async def test_work_that_nobody_waits_for_makes_room(self, pool: WorkerPool) -> None:
        worker = await pool.load(spec("one"))
        async with worker.call("hang", {}) as call:
            await anext(aiter(call))
        # It still runs, and never ends by itself.
        assert worker.busy
        async with asyncio.timeout(30):
            await pool.load(spec("two"))
        assert states(pool) == {"one": "unloaded", "two": "ready"}

    async def test_one_who_goes_away_while_waiting_for_room_wants_it_no_more(self, pool: WorkerPool) -> None:
        await pool.load(spec("one"))
        async with pool.worker(spec("one")).call("hang", {}) as hanging:
            waiting = asyncio.create_task(pool.load(spec("two")))
            await asyncio.sleep(0.1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            async with pool.kept_out("two"):
                pass
            hanging.kill()


class TestUnloading:
    async def test_a_load_is_given_up(self, pool: WorkerPool, tmp_path: Path) -> None:
        counter = tmp_path / "loads"
        slow = spec("slow", slow=True, counter=str(counter))
        waiting = asyncio.create_task(pool.load(slow))
        await until(counter.is_file)
        await pool.unload("slow")
        with pytest.raises(errors.Conflict, match="slow was unloaded while it was loading"):
            await waiting
        assert states(pool) == {"slow": "unloaded"}

    async def test_who_asks_just_after_it_was_given_up_gets_a_load_of_their_own(
        self, pool: WorkerPool, tmp_path: Path
    ) -> None:
        counter = tmp_path / "loads"
        slow = spec("slow", slow=True, counter=str(counter))
        first = asyncio.create_task(pool.load(slow))
        await until(counter.is_file)
        unloading = asyncio.create_task(pool.unload("slow"))
        second = asyncio.create_task(pool.load(slow))
        await unloading
        with pytest.raises(errors.Conflict):
            await first
        await until(lambda: counter.read_text(encoding="ascii") == "xx")
        assert not second.done()
        await pool.unload("slow")
        with pytest.raises(errors.Conflict):
            await second

    async def test_one_that_failed_is_not_tried_again(
        self, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(backoff, "FREE_RESTARTS", 0)
        counter = tmp_path / "loads"
        worker = await pool.load(spec("one", counter=str(counter)))
        (status,) = worker.status()
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        await until(lambda: worker.state == "failed")
        await pool.unload("one")
        assert states(pool) == {"one": "unloaded"}
        # As long as it would have waited, and longer.
        await asyncio.sleep(1.5)
        assert counter.read_text(encoding="ascii") == "x"
        with pytest.raises(errors.NotFound):
            await pool.unload("one")

    async def test_the_end_of_idleness_breaks_off_no_load(self, pool: WorkerPool, tmp_path: Path) -> None:
        counter = tmp_path / "loads"
        waiting = asyncio.create_task(pool.load(spec("slow", slow=True, counter=str(counter))))
        await until(counter.is_file)
        pool.worker(spec("slow"))._unload_if_idle()
        assert states(pool) == {"slow": "loading"}
        await pool.unload("slow")
        with pytest.raises(errors.Conflict):
            await waiting

    async def test_one_whose_callers_have_all_left(self, pool: WorkerPool) -> None:
        worker = await pool.load(spec("one"))
        async with worker.call("hang", {}) as call:
            await anext(aiter(call))
            with pytest.raises(errors.Conflict):
                await pool.unload("one")
        # It still runs, and never ends by itself.
        assert worker.busy
        async with asyncio.timeout(30):
            await pool.unload("one")
        await until(lambda: not worker.busy)
        assert states(pool) == {"one": "unloaded"}

    async def test_a_call_that_waits_behind_one_that_was_left_keeps_it(self, pool: WorkerPool) -> None:
        worker = await pool.load(spec("one"))
        async with worker.call("hang", {}) as call:
            await anext(aiter(call))
        waiting = asyncio.create_task(_asked(pool, "one"))
        await until(lambda: worker.status()[0].waiting == 1)
        with pytest.raises(errors.Conflict):
            await pool.unload("one")
        call.kill()
        assert await waiting == ["echo"]


async def _asked(pool: WorkerPool, name: str) -> list[str]:
    async with pool.worker(spec(name)).call("echo", {}) as call:
        return [event.name async for event in call]


class TestReturning:
    """Of the models whose process ended by itself."""

    async def test_only_what_stays_comes_back_unasked(self, tmp_path: Path) -> None:
        pool = WorkerPool(2, stays=lambda name: name == "default")
        loads = {name: tmp_path / name for name in ("default", "other")}
        specs = {name: spec(name, counter=str(counter)) for name, counter in loads.items()}
        try:
            for each in specs.values():
                worker = await pool.load(each)
                (status,) = worker.status()
                assert status.pid is not None
                os.kill(status.pid, signal.SIGKILL)
            await until(lambda: states(pool) == {"default": "ready", "other": "unloaded"})
            assert {name: counter.read_text("ascii") for name, counter in loads.items()} == {
                "default": "xx",
                "other": "x",
            }
            await pool.load(specs["other"])
            assert states(pool) == {"default": "ready", "other": "ready"}
        finally:
            await pool.close()

    async def test_what_a_call_waits_for_comes_back(self) -> None:
        pool = WorkerPool(1, stays=lambda _: False)
        try:
            worker = await pool.load(spec("one"))
            async with worker.call("hang", {}) as hanging:
                await anext(aiter(hanging))
                waiting = asyncio.create_task(_asked(pool, "one"))
                await until(lambda: worker.status()[0].waiting == 1)
                hanging.kill()
                assert await waiting == ["echo"]
        finally:
            await pool.close()


class TestKeptOut:
    async def test_nobody_loads_it_meanwhile(self, pool: WorkerPool) -> None:
        async with pool.kept_out("one"):
            with pytest.raises(errors.Conflict, match="one is being deleted"):
                await pool.load(spec("one"))
            with pytest.raises(errors.Unavailable, match="one is being deleted"):
                async with pool.worker(spec("one")).call("echo", {}):
                    pass
            with pytest.raises(errors.Conflict):
                async with pool.kept_out("one"):
                    pass
            await pool.load(spec("two"))
        await pool.load(spec("one"))
        assert states(pool) == {"one": "ready", "two": "unloaded"}

    async def test_one_that_is_loaded_or_waited_for(self, pool: WorkerPool) -> None:
        await pool.load(spec("one"))
        async with pool.worker(spec("one")).call("hang", {}) as hanging:
            waiting = asyncio.create_task(pool.load(spec("two")))
            await until(lambda: "two" in states(pool))
            for name in ("one", "two"):
                with pytest.raises(errors.Conflict, match=f"{name} is in use"):
                    async with pool.kept_out(name):
                        pass
            hanging.kill()
        await waiting
        with pytest.raises(errors.Conflict, match="two is in use"):
            async with pool.kept_out("two"):
                pass

    async def test_one_that_failed_does_not_come_back(self, pool: WorkerPool) -> None:
        with pytest.raises(errors.ConfigurationError):
            await pool.load(spec("broken", refuse=True))
        assert states(pool) == {"broken": "failed"}
        async with pool.kept_out("broken"):
            assert states(pool) == {"broken": "unloaded"}
