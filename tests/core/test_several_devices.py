"""One queue in front of a process on each of several devices."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import errors, replica
from core.process import Call, WorkerSpec
from core.replica import WorkerStatus
from core.workers import Worker

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _handlers_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(replica, "RETRY_SECONDS", 0.05)


@asynccontextmanager
async def running(
    handler: str = "device_handlers:Device",
    *,
    devices: tuple[int, ...] = (0, 1),
    slots: int = 4,
    max_waiting: int = 64,
    idle_unload: float = -1.0,
    **config: Any,
) -> AsyncIterator[Worker]:
    spec = WorkerSpec(
        name="model",
        handler=handler,
        config=config,
        devices=devices,
        slots=slots,
        max_waiting=max_waiting,
        idle_unload=idle_unload,
        log_level="ERROR",
    )
    worker = Worker(spec)
    try:
        yield worker
    finally:
        await worker.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


def states(worker: Worker) -> dict[str, str]:
    return {status.id: status.state for status in worker.status()}


def by_id(worker: Worker) -> dict[str, WorkerStatus]:
    return {status.id: status for status in worker.status()}


BOTH = {"model@0": "ready", "model@1": "ready"}


async def loaded(worker: Worker) -> None:
    await worker.load()
    await until(lambda: states(worker) == BOTH)


async def device(call: Call) -> int:
    return int((await anext(aiter(call))).data)


async def test_each_device_has_a_process_and_calls_go_to_the_one_with_the_fewest(tmp_path: Path) -> None:
    end = tmp_path / "end"
    async with running() as worker, AsyncExitStack() as stack:
        await loaded(worker)
        held = [{"held": str(tmp_path / str(number)), "until": str(end)} for number in range(4)]
        opened = [await stack.enter_async_context(worker.call("hold", params)) for params in held]
        assert sorted([await device(call) for call in opened]) == [0, 0, 1, 1]
        assert len({status.pid for status in worker.status()}) == 2
        end.touch()
        await until(lambda: all(status.calls == 0 for status in worker.status()))


async def test_the_slots_are_those_of_all_processes(tmp_path: Path) -> None:
    end = tmp_path / "end"
    async with running(slots=1) as worker, AsyncExitStack() as stack:
        await loaded(worker)
        for name in ("a", "b"):
            params = {"held": str(tmp_path / name), "until": str(end)}
            await stack.enter_async_context(worker.call("hold", params))
        await until(lambda: [status.calls for status in worker.status()] == [1, 1])
        third = asyncio.create_task(_device(worker))
        await until(lambda: [status.waiting for status in worker.status()] == [1, 0])
        assert not third.done()
        end.touch()
        assert await third in {0, 1}


async def _device(worker: Worker) -> int:
    async with worker.call("tell", {}) as call:
        return await device(call)


async def test_one_that_is_killed_leaves_the_other_answering_and_comes_back(tmp_path: Path) -> None:
    full = tmp_path / "full"
    async with running(down={"0": str(full)}) as worker:
        await loaded(worker)
        before = by_id(worker)["model@0"].pid
        assert before is not None
        full.touch()  # so that it stays away until it has been looked at
        os.kill(before, signal.SIGKILL)
        await until(lambda: states(worker)["model@0"] == "failed")
        assert worker.state == "ready"
        assert await _device(worker) == 1
        full.unlink()
        await until(lambda: states(worker) == BOTH)
        found = by_id(worker)
        assert (found["model@0"].restarts, found["model@1"].restarts) == (1, 0)
        assert found["model@0"].pid != before


async def test_a_device_that_cannot_load_is_tried_again_while_the_other_answers(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.touch()
    async with running(down={"1": str(full)}) as worker:
        assert await _device(worker) == 0
        await until(lambda: len(full.read_bytes()) > 1)
        assert worker.state == "ready"
        await until(lambda: worker.error == "the device is full")
        full.unlink()
        await until(lambda: states(worker) == BOTH)
        assert worker.error is None


async def test_a_wrong_configuration_is_not_tried_again() -> None:
    async with running(wrong=[1]) as worker:
        assert await _device(worker) == 0
        await until(lambda: states(worker) == {"model@0": "ready", "model@1": "failed"})
        assert by_id(worker)["model@1"].error == "there is no device 1"


async def test_a_load_that_fails_everywhere_is_the_callers_to_know() -> None:
    async with running(wrong=[0, 1]) as worker:
        with pytest.raises(errors.ConfigurationError, match="no device"):
            await worker.load()
        assert worker.state == "failed"


async def test_all_are_unloaded_together_and_loaded_again() -> None:
    async with running(idle_unload=0.1) as worker:
        await worker.load()
        assert await _device(worker) in {0, 1}
        await until(lambda: set(states(worker).values()) == {"unloaded"})
        assert await _device(worker) in {0, 1}


async def test_an_engine_that_ends_up_on_the_cpu_has_one_process() -> None:
    async with running(reports={"0": "cpu", "1": "cpu"}) as worker:
        await worker.load()
        assert worker.processes == 1
        assert list(states(worker).values()) == ["ready"]
        assert await _device(worker) in {0, 1}


@pytest.mark.parametrize("first", ["0", "1"])
async def test_a_process_that_ends_up_on_the_cpu_leaves_the_place_to_the_gpu(first: str, tmp_path: Path) -> None:
    here = {device: tmp_path / device for device in ("0", "1")}
    loads = {device: str(path) for device, path in here.items()}
    async with running(reports={"0": "cuda", "1": "cpu"}, waits=loads) as worker:
        loading = asyncio.create_task(worker.load())
        here.pop(first).touch()
        await until(lambda: worker.processes == 1 if first == "1" else worker.state == "ready")
        for path in here.values():
            path.touch()
        await loading
        await until(lambda: states(worker) == {"model@0": "ready"})
        assert worker.facts["device"] == "cuda"
        assert await _device(worker) == 0


async def test_the_cpu_serves_while_the_gpu_is_full_and_then_leaves_it_the_place(tmp_path: Path) -> None:
    full, free = tmp_path / "full", tmp_path / "free"
    full.touch()
    settings: dict[str, Any] = {"reports": {"0": "cuda", "1": "cpu"}, "down": {"0": str(full)}}
    async with running(**settings, waits={"1": str(free)}) as worker:
        loading = asyncio.create_task(worker.load())
        await until(lambda: states(worker)["model@0"] == "failed")
        free.touch()
        await loading
        assert await _device(worker) == 1
        full.unlink()
        await until(lambda: states(worker) == {"model@0": "ready"})
        assert await _device(worker) == 0


async def test_the_queue_is_no_longer_than_what_one_process_allows_while_the_others_are_down(tmp_path: Path) -> None:
    end = tmp_path / "end"
    async with running(slots=1, max_waiting=1, wrong=[1]) as worker, AsyncExitStack() as stack:
        await worker.load()
        await until(lambda: states(worker)["model@1"] == "failed")
        held = {"held": str(tmp_path / "a"), "until": str(end)}
        await stack.enter_async_context(worker.call("hold", held))
        waiting = asyncio.create_task(_device(worker))
        await until(lambda: worker.status()[0].waiting == 1)
        with pytest.raises(errors.QueueFull):
            await _device(worker)
        end.touch()
        assert await waiting == 0


async def test_the_fake_engine_on_two_faked_gpus(tmp_path: Path) -> None:
    pcm = tmp_path / "noise.s16"
    pcm.write_bytes(np.random.default_rng(0).integers(-9000, 9000, 16_000, dtype=np.int16).tobytes())
    audio = {"path": str(pcm), "sample_rate": 16_000, "channels": 1, "offset": 0, "frames": 16_000}
    config: dict[str, Any] = {"engine": "fake", "model_id": "fake", "device": "cuda"}
    async with running("device_handlers:FakeGpus", **config) as worker:
        await loaded(worker)
        assert worker.facts["device"] == "cuda"
        first = by_id(worker)["model@0"].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: by_id(worker)["model@0"].state != "ready")
        texts = await asyncio.gather(*(_transcribed(worker, audio) for _ in range(4)))
        assert len(set(texts)) == 1
        assert texts[0]
        await until(lambda: states(worker) == BOTH)


async def _transcribed(worker: Worker, audio: dict[str, Any]) -> str:
    async with worker.call("transcribe", {"pcm": audio}) as call:
        return "".join([event.data["text"] async for event in call if event.name == "segment"])
