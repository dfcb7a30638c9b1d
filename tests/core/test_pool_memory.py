"""MODEL_MEMORY_MB: real processes, whose memory is what the system says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core import errors
from core.memory import MIB
from core.pool import WorkerPool
from core.process import WorkerSpec

HERE = Path(__file__).parent
HUGE = 1 << 50


@pytest.fixture(autouse=True)
def _handlers_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
async def made() -> AsyncIterator[list[WorkerPool]]:
    pools: list[WorkerPool] = []
    yield pools
    for pool in pools:
        await pool.close()


def pool_of(made: list[WorkerPool], *, memory: int, slots: int = 9) -> WorkerPool:
    made.append(WorkerPool(slots, memory=memory))
    return made[-1]


def spec(name: str, size: int = MIB, **more: float) -> WorkerSpec:
    return WorkerSpec(name=name, handler="worker_handlers:Echo", size=size, log_level="ERROR", **more)  # type: ignore[arg-type]


def states(pool: WorkerPool) -> dict[str, str]:
    return {name: status.state for name, status in pool.by_model()}


def rss(pool: WorkerPool, name: str) -> int:
    return sum(status.rss_bytes or 0 for each, status in pool.by_model() if each == name)


async def use(pool: WorkerPool, wanted: WorkerSpec) -> None:
    async with pool.worker(wanted).call("echo", {}) as call:
        assert [event.name async for event in call] == ["echo"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_longest_idle_ones_go_until_the_next_one_fits(made: list[WorkerPool]) -> None:
    measuring = pool_of(made, memory=0)
    await measuring.load(spec("one"))
    process = rss(measuring, "one")
    # Room for two processes and a half.
    pool = pool_of(made, memory=process * 5 // 2)
    for name in ("one", "two"):
        await pool.load(spec(name))
    await until(lambda: not pool.worker(spec("two")).busy)
    await use(pool, spec("one"))
    await pool.load(spec("three"))
    assert states(pool) == {"one": "ready", "two": "unloaded", "three": "ready"}


async def test_a_model_that_was_loaded_counts_with_the_memory_it_had(made: list[WorkerPool]) -> None:
    pool = pool_of(made, memory=HUGE)
    await pool.load(spec("one"))
    await pool.load(spec("two"))
    assert pool.has_room(spec("three"))
    one = pool.worker(spec("one"))
    await pool.unload("one")
    assert pool._bytes(one) > 5 * MIB


async def test_one_that_was_never_loaded_counts_with_what_others_took_beside_their_weights(
    made: list[WorkerPool],
) -> None:
    pool = pool_of(made, memory=HUGE)
    new = pool.worker(spec("new", size=7 * MIB))
    assert pool._bytes(new) == 7 * MIB
    await pool.load(spec("weightless", size=0))
    await pool.load(spec("one", size=2 * MIB))
    taken = [pool._bytes(pool.worker(spec(name, size=size))) for name, size in (("weightless", 0), ("one", 2 * MIB))]
    assert pool._bytes(new) == 5 * MIB + taken[1]


async def test_what_computes_elsewhere_takes_no_slot(made: list[WorkerPool]) -> None:
    pool = pool_of(made, memory=0, slots=1)
    await pool.load(spec("local"))
    remote = replace(spec("remote"), takes_slot=False)
    assert pool.has_room(remote)
    await pool.load(remote)
    assert states(pool) == {"local": "ready", "remote": "ready"}
    await pool.load(spec("other"))
    assert states(pool) == {"local": "unloaded", "remote": "ready", "other": "ready"}


async def test_a_model_that_never_fits_is_refused_at_once(made: list[WorkerPool]) -> None:
    pool = pool_of(made, memory=100 * MIB)
    await pool.load(spec("one"))
    with pytest.raises(errors.InsufficientMemory, match="needs 101 MiB at least; MODEL_MEMORY_MB allows 100") as caught:
        await use(pool, spec("two", size=101 * MIB))
    assert caught.value.status == 503
    assert caught.value.headers() == {"x-should-retry": "false"}
    assert states(pool)["one"] == "ready"


async def test_one_that_turns_out_too_large_is_not_kept_and_not_tried_again(
    made: list[WorkerPool], tmp_path: Path
) -> None:
    counter = tmp_path / "loads"
    pool = pool_of(made, memory=2 * MIB)
    wanted = replace(spec("one"), config={"counter": str(counter)})
    for _ in range(2):
        with pytest.raises(errors.InsufficientMemory, match="MODEL_MEMORY_MB allows 2") as caught:
            await use(pool, wanted)
        assert caught.value.headers() == {"x-should-retry": "false"}
    assert counter.read_text(encoding="ascii") == "x"
    assert all(status.pid is None for status in pool.status())


async def test_idle_ones_go_when_one_took_more_than_could_be_told(made: list[WorkerPool]) -> None:
    measuring = pool_of(made, memory=0)
    await measuring.load(spec("one"))
    # The first load tells what a process takes beside its weights, but one that claims to be all weights hides it.
    pool = pool_of(made, memory=rss(measuring, "one") * 3 // 2)
    await pool.load(spec("one", size=rss(measuring, "one")))
    await pool.load(spec("two"))
    await until(lambda: states(pool) == {"one": "unloaded", "two": "ready"})


async def test_none_goes_for_one_that_would_not_fit_all_the_same(made: list[WorkerPool]) -> None:
    pool = pool_of(made, memory=HUGE)
    for name in ("busy", "idle"):
        await pool.load(spec(name))
    big = spec("big", size=HUGE - MIB, load_timeout=0.3)
    async with pool.worker(spec("busy")).call("hang", {}) as hanging:
        with pytest.raises(errors.ModelLoading, match="no room"):
            await pool.load(big)
        assert states(pool) == {"busy": "ready", "idle": "ready", "big": "unloaded"}
        hanging.kill()


async def test_what_is_in_use_is_not_unloaded(made: list[WorkerPool]) -> None:
    pool = pool_of(made, memory=0)
    with pytest.raises(errors.NotFound):
        await pool.unload("one")
    await pool.load(spec("one"))
    async with pool.worker(spec("one")).call("hang", {}) as hanging:
        with pytest.raises(errors.Conflict):
            await pool.unload("one")
        hanging.kill()
    await until(lambda: pool.worker(spec("one")).state == "ready" and not pool.worker(spec("one")).busy)
    await pool.unload("one")
    assert states(pool) == {"one": "unloaded"}
