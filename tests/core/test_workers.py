"""The supervisor, with real worker processes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import backoff, errors, replica
from core.pool import WorkerPool
from core.process import Call, WorkerSpec
from core.replica import Replica, WorkerStatus
from core.workers import Worker

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _handlers_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def spec(name: str = "echo", *, slots: int = 1, **more: Any) -> WorkerSpec:
    names = ("idle_unload", "load_timeout", "max_waiting", "short_slots")
    fields = {key: more.pop(key) for key in names if key in more}
    return WorkerSpec(name=name, handler="worker_handlers:Echo", config=more, slots=slots, log_level="ERROR", **fields)


@asynccontextmanager
async def running(**more: Any) -> AsyncIterator[Worker]:
    worker = Worker(spec(**more))
    try:
        yield worker
    finally:
        await worker.close()


async def events(worker: Worker, method: str, **params: Any) -> list[Any]:
    timeout = params.pop("timeout", 30.0)
    async with worker.call(method, params, timeout=timeout) as call:
        return [event async for event in call]


def status(worker: Worker) -> WorkerStatus:
    """Of a worker with one device."""
    (found,) = worker.status()
    return found


async def loaded_pid(worker: Worker) -> int:
    await worker.load()
    pid = status(worker).pid
    assert pid is not None
    return pid


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_call_returns_events_in_order_with_data_and_bytes() -> None:
    async with running() as worker:
        async with worker.call("echo", {"a": [1, "é"]}) as call:
            (echo,) = [event async for event in call]
        assert (echo.name, echo.data, echo.body) == ("echo", {"a": [1, "é"]}, b"\0raw")
        assert [event.data for event in await events(worker, "count", to=1000)] == list(range(1000))


async def test_two_callers_at_once_load_the_model_once(tmp_path: Path) -> None:
    counter = tmp_path / "loads"
    async with running(counter=str(counter), slots=2) as worker:
        await asyncio.gather(*(events(worker, "echo") for _ in range(8)))
        assert counter.read_text(encoding="ascii") == "x"
        found = status(worker)
        assert found.state == "ready"
        assert found.pid == worker.facts["pid"] != os.getpid()
        assert found.rss_bytes is not None
        assert found.rss_bytes > 1 << 20


async def test_leaving_a_call_stops_the_engine_and_frees_the_slot(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    async with running() as worker:
        async with worker.call("forever", {"closed": str(closed)}) as call:
            async for event in call:
                assert event.name == "tick"
                break
        assert await events(worker, "echo")
        assert closed.is_file()
        assert status(worker).restarts == 0


async def test_a_cancelled_caller_stops_the_engine(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    async with running() as worker:
        await worker.load()
        task = asyncio.create_task(events(worker, "forever", closed=str(closed)))
        await until(lambda: status(worker).calls == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: status(worker).calls == 0)
        assert closed.is_file()


async def test_a_call_that_ignores_its_cancellation_loses_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "CANCEL_GRACE", 0.2)
    async with running() as worker:
        pid = await loaded_pid(worker)
        async with worker.call("hang", {}) as call:
            async for _ in call:
                break
        assert await events(worker, "echo")
        assert not alive(pid)


async def test_a_killed_worker_fails_its_call_and_serves_the_next() -> None:
    async with running() as worker:
        with pytest.raises(errors.EngineCrashed):
            await events(worker, "kill")
        assert await events(worker, "echo")
        assert status(worker).restarts == 1


async def test_a_crash_is_blamed_on_a_call_that_was_alone() -> None:
    async with running() as worker:
        with pytest.raises(errors.CrashedByRequest):
            await events(worker, "kill")


async def test_a_crash_among_several_calls_is_blamed_on_none() -> None:
    async with running(slots=2) as worker:
        other = asyncio.create_task(events(worker, "hang"))
        await until(lambda: status(worker).calls == 1)
        with pytest.raises(errors.EngineCrashed) as caught:
            await events(worker, "kill")
        with pytest.raises(errors.EngineCrashed) as neighbours:
            await other
        assert {caught.type, neighbours.type} == {errors.EngineCrashed}


@pytest.mark.parametrize("how", ["left", "late"])
async def test_nobody_is_blamed_for_a_worker_that_we_ended(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "CANCEL_GRACE", 0.1)
    async with running(slots=2) as worker:
        innocent = asyncio.create_task(events(worker, "hang"))
        await until(lambda: status(worker).calls == 1)
        if how == "late":
            with pytest.raises(errors.DeadlineExceeded):
                await events(worker, "hang", timeout=0.1)
        else:
            async with worker.call("hang", {}):
                pass
        with pytest.raises(errors.EngineCrashed) as caught:
            await innocent
        assert caught.type is errors.EngineCrashed


async def test_a_crash_is_not_blamed_on_who_is_left_when_another_gave_up() -> None:
    async with running(slots=2) as worker:
        async with worker.call("hang", {}):
            pass  # its caller is gone, the engine still works on it
        with pytest.raises(errors.EngineCrashed) as caught:
            await events(worker, "kill")
        assert caught.type is errors.EngineCrashed


async def test_a_worker_that_cannot_be_started_is_unavailable_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(replace(spec(), tmp=tmp_path / "missing"))
    with pytest.raises(errors.Unavailable):
        await worker.load()

    def no_more_files(*_: Any) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket, "socketpair", no_more_files)
    with pytest.raises(errors.Unavailable):
        await Worker(replace(spec(), tmp=tmp_path)).load()
    assert list(tmp_path.iterdir()) == []


async def test_a_worker_killed_while_idle_comes_back_by_itself() -> None:
    async with running() as worker:
        pid = await loaded_pid(worker)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: status(worker).pid not in {None, pid} and worker.state == "ready")


async def test_a_worker_that_keeps_dying_is_left_alone_for_a_while() -> None:
    async with running() as worker:
        for _ in range(backoff.FREE_RESTARTS):
            with pytest.raises(errors.EngineCrashed):
                await events(worker, "kill")
        with pytest.raises((errors.EngineCrashed, errors.Unavailable)):
            await events(worker, "kill")
        await until(lambda: worker.state != "ready")
        with pytest.raises(errors.Unavailable) as caught:
            await events(worker, "echo")
        assert int(caught.value.headers()["Retry-After"]) >= 1


async def test_rubbish_on_the_pipe_ends_the_worker() -> None:
    async with running() as worker:
        with pytest.raises(errors.EngineCrashed):
            await events(worker, "rubbish")
        assert await events(worker, "echo")


async def test_the_engines_own_error_arrives_whole() -> None:
    async with running() as worker:
        with pytest.raises(errors.UnsupportedParameter, match="no such thing here") as caught:
            await events(worker, "refuse")
        assert caught.value.param == "seed"


async def test_a_bug_in_the_engine_tells_the_client_nothing() -> None:
    async with running() as worker:
        with pytest.raises(errors.InternalError) as caught:
            await events(worker, "bug")
        assert "secret" not in caught.value.message
        assert await events(worker, "echo")


async def test_a_call_past_its_deadline_that_ignores_its_cancellation_loses_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica, "CANCEL_GRACE", 0.2)
    async with running() as worker:
        pid = await loaded_pid(worker)
        with pytest.raises(errors.DeadlineExceeded):
            await events(worker, "hang", timeout=0.3)
        # Noticed, not only gone: what is asked in between goes down with it.
        await until(lambda: status(worker).restarts == 1)
        assert not alive(pid)
        assert await events(worker, "echo")


async def test_the_neighbour_of_a_call_past_its_deadline_goes_on(tmp_path: Path) -> None:
    late, neighbour = tmp_path / "late", tmp_path / "neighbour"
    async with running(slots=2) as worker:
        pid = await loaded_pid(worker)
        async with worker.call("forever", {"closed": str(neighbour)}) as call:
            ticks = aiter(call)
            await anext(ticks)
            with pytest.raises(errors.DeadlineExceeded):
                await events(worker, "forever", closed=str(late), timeout=0.2)
            await until(late.is_file)
            await until(lambda: status(worker).calls == 1)
            assert (await anext(ticks)).name == "tick"
            assert await events(worker, "echo")
        assert (status(worker).pid, status(worker).restarts) == (pid, 0)


@asynccontextmanager
async def sharing(tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker whose calls share one device, where `go` lets them go on."""
    config = {"slots": 1, "closed": str(tmp_path / "closed")}
    handler = "worker_handlers:Sharing"
    worker = Worker(WorkerSpec(name="sharing", handler=handler, config=config, slots=4, log_level="ERROR"))
    try:
        yield worker
    finally:
        await worker.close()


async def left_on_the_device(worker: Worker) -> None:
    """Leave a call that is on the device, and wait for its end."""
    async with worker.call("work", {"then": "answer"}):
        while (await events(worker, "counts"))[0].data["running"] != 1:
            await asyncio.sleep(0.01)
    await until(lambda: status(worker).calls == 0)


async def test_a_device_that_is_stuck_with_a_call_that_was_left_costs_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "STUCK_SECONDS", 0.2)
    async with sharing(tmp_path) as worker:
        pid = await loaded_pid(worker)
        await left_on_the_device(worker)
        await until(lambda: status(worker).restarts == 1)
        assert not alive(pid)
        assert (await events(worker, "counts"))[0].data["running"] == 0


async def test_a_call_that_cannot_stop_while_it_is_on_the_device_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "CANCEL_GRACE", 0.1)
    waited: list[Call] = []
    watch = Replica.watch

    async def watching(self: Replica, call: Call) -> None:
        waited.append(call)
        await watch(self, call)

    monkeypatch.setattr(Replica, "watch", watching)
    async with sharing(tmp_path) as worker:
        pid = await loaded_pid(worker)
        async with worker.call("turn", {"then": "answer"}):
            while (await events(worker, "counts"))[0].data["running"] != 1:
                await asyncio.sleep(0.01)
        await until(lambda: bool(waited))
        monkeypatch.setattr(replica, "CANCEL_GRACE", 10.0)
        await events(worker, "go")
        await until(lambda: status(worker).calls == 0)
        assert alive(pid)
        assert status(worker).restarts == 0


async def test_a_device_that_ends_the_work_of_a_call_that_was_left_costs_nothing(tmp_path: Path) -> None:
    async with sharing(tmp_path) as worker:
        found = (await worker.load()).process
        assert found is not None
        await left_on_the_device(worker)
        assert found._working
        await events(worker, "go")
        await until(lambda: not found._working)
        await until(lambda: worker._background._tasks == {found_keeper(worker)})
        assert status(worker).restarts == 0


def found_keeper(worker: Worker) -> asyncio.Task[None] | None:
    """The only task that a worker with nothing to do has: it waits for the end of the process."""
    (only,) = worker._replicas.all
    return only._keeper


async def drained(call: Call) -> None:
    async for _ in call:
        pass


async def test_work_that_a_closed_process_breaks_off_is_no_success(tmp_path: Path) -> None:
    async with running() as worker, worker.call("forever", {"closed": str(tmp_path / "closed")}) as call:
        await anext(aiter(call))
        closing = asyncio.create_task(worker.close())
        with pytest.raises(errors.EngineCrashed):
            await drained(call)
        await closing


async def test_a_call_that_comes_when_the_worker_is_unloaded_for_idleness_gets_a_process_that_stays() -> None:
    async with running() as worker:
        pid = await loaded_pid(worker)
        worker._unload_if_idle()
        # Without a turn of the event loop in between.
        assert await events(worker, "echo")
        assert status(worker).pid != pid


async def test_who_waits_for_a_load_that_is_given_up_is_told_of_the_shutdown(tmp_path: Path) -> None:
    counter = tmp_path / "loads"
    async with running(counter=str(counter), slow=True) as worker:
        waiting = asyncio.create_task(events(worker, "echo"))
        await until(counter.is_file)
        await worker.close()
        with pytest.raises(errors.Draining):
            await waiting


async def test_a_library_that_a_load_misses_is_named() -> None:
    async with running(needs="no_such_library.part") as worker:
        with pytest.raises(errors.NotSupported, match="the engine needs no_such_library, which is not installed"):
            await worker.load()


async def test_a_load_that_fails_says_why_and_can_be_tried_again() -> None:
    async with running(refuse=True) as worker:
        for _ in range(2):
            with pytest.raises(errors.ConfigurationError, match="wrong kind"):
                await worker.load()
        assert worker.state == "failed"
        assert status(worker).error == "the weights are of the wrong kind"


async def test_a_process_that_dies_while_loading_is_a_crash() -> None:
    async with running(die=True) as worker:
        with pytest.raises(errors.EngineCrashed):
            await worker.load()


async def test_an_idle_worker_is_ended_and_loads_again_on_use() -> None:
    async with running(idle_unload=0.1) as worker:
        await events(worker, "echo")
        pid = status(worker).pid
        assert pid is not None
        await until(lambda: worker.state == "unloaded" and not alive(pid))
        assert await events(worker, "echo")


async def test_more_waiting_calls_than_allowed_are_refused() -> None:
    async with running(max_waiting=1) as worker:
        await worker.load()
        async with worker.call("hang", {}):
            waiting = asyncio.create_task(events(worker, "echo"))
            await until(lambda: status(worker).waiting == 1)
            with pytest.raises(errors.QueueFull):
                await events(worker, "echo")
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def test_calls_that_wait_for_the_model_to_load_are_counted_too() -> None:
    async with running(max_waiting=2) as worker:
        found = await asyncio.gather(*(events(worker, "echo") for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(error, errors.QueueFull) for error in found) == 5
        assert sum(isinstance(answer, list) for answer in found) == 3


async def test_calls_that_wait_for_room_are_counted_too() -> None:
    pool = WorkerPool(1)
    try:
        first = await pool.load(spec("one"))
        async with first.call("hang", {}) as hanging:
            other = spec("two", max_waiting=1)
            waiting = [asyncio.create_task(_asked(pool, other)) for _ in range(2)]
            await until(lambda: status(pool.worker(other)).waiting == 2)
            with pytest.raises(errors.QueueFull):
                await _asked(pool, other)
            hanging.kill()
        assert [len(found) for found in await asyncio.gather(*waiting)] == [1, 1]
    finally:
        await pool.close()


async def test_two_models_that_wait_for_the_same_room_both_get_it() -> None:
    pool = WorkerPool(1)
    try:
        await pool.load(spec("one"))
        found = await asyncio.gather(*(_asked(pool, spec(name)) for name in ("two", "three")))
        assert [len(answers) for answers in found] == [1, 1]
    finally:
        await pool.close()


async def _asked(pool: WorkerPool, wanted: WorkerSpec) -> list[Any]:
    async with pool.worker(wanted).call("echo", {}) as call:
        return [event async for event in call]


async def test_a_caller_that_would_rather_wait_is_never_refused() -> None:
    async with running(max_waiting=1) as worker:
        await worker.load()
        async with worker.call("hang", {}) as hanging:
            waiting = [asyncio.create_task(_patient(worker)) for _ in range(4)]
            await until(lambda: status(worker).waiting == 4)
            with pytest.raises(errors.QueueFull):
                await events(worker, "echo")
            hanging.kill()
        assert [len(found) for found in await asyncio.gather(*waiting)] == [1] * 4


async def _patient(worker: Worker) -> list[Any]:
    async with worker.call("echo", {}, wait=True) as call:
        return [event async for event in call]


async def test_short_calls_do_not_wait_behind_long_ones() -> None:
    async with running(slots=1, short_slots=1, max_waiting=1) as worker:
        await worker.load()
        async with worker.call("hang", {}):
            waiting = asyncio.create_task(events(worker, "echo"))
            await until(lambda: status(worker).waiting == 1)
            async with worker.call("echo", {}, short=True) as call:
                assert [event.name async for event in call] == ["echo"]
            assert not waiting.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def test_a_load_that_fails_answers_everybody_who_waits_at_once(tmp_path: Path) -> None:
    counter = tmp_path / "loads"
    async with running(refuse=True, counter=str(counter)) as worker:
        found = await asyncio.gather(*(events(worker, "echo") for _ in range(4)), return_exceptions=True)
        assert all(isinstance(error, errors.ConfigurationError) for error in found)
        assert counter.read_text(encoding="ascii") == "x"


async def test_a_worker_that_waits_for_its_restart_is_not_ready() -> None:
    async with running() as worker:
        for _ in range(backoff.FREE_RESTARTS + 1):
            with pytest.raises((errors.EngineCrashed, errors.Unavailable)):
                await events(worker, "kill")
        await until(lambda: worker.state != "ready")
        assert worker.state == "failed"


async def test_a_model_pulled_after_the_first_look_is_found() -> None:
    pool = WorkerPool(2)
    try:
        assert pool.worker(spec("one", model=None)).state == "unloaded"
        worker = await pool.load(spec("one", model="/pulled"))
        assert worker.spec.config == {"model": "/pulled"}
    finally:
        await pool.close()


async def test_a_worker_without_its_api_ends_even_in_the_middle_of_a_call() -> None:
    async with running() as worker:
        process = (await worker.load()).process
        assert process is not None
        async with worker.call("hang", {}) as call:
            async for _ in call:
                break
            process._writer.transport.abort()  # what the kernel does when the API process is killed
            await until(lambda: not alive(process.pid))


async def test_closing_leaves_no_process() -> None:
    async with running(slots=4) as worker:
        pid = await loaded_pid(worker)
        task = asyncio.create_task(events(worker, "hang"))
        await until(lambda: status(worker).calls == 1)
        await worker.close()
        assert not alive(pid)
        with pytest.raises(errors.VoiceStackError):
            await task


async def test_a_worker_that_drains_ends_its_queue_but_not_its_work() -> None:
    async with running() as worker:
        await worker.load()
        async with worker.call("hang", {}) as call:
            waiting = asyncio.create_task(events(worker, "echo"))
            await until(lambda: status(worker).waiting == 1)
            worker.drain()
            with pytest.raises(errors.Draining):
                await waiting
            with pytest.raises(errors.Draining):
                await events(worker, "echo")
            assert (await anext(aiter(call))).name == "started"


async def test_a_model_that_lost_its_room_while_it_was_down_stays_unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FREE_RESTARTS", 0)
    pool = WorkerPool(1)
    try:
        first = await pool.load(spec("one"))
        pid = status(first).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: first.state == "failed")
        await pool.load(spec("two"))
        await until(lambda: first.state == "unloaded")
        assert [status.state for status in pool.status()] == ["unloaded", "ready"]
    finally:
        await pool.close()


async def test_the_pool_makes_room_by_unloading_the_longest_idle() -> None:
    pool = WorkerPool(2)
    try:
        for name in ("one", "two"):
            await pool.load(spec(name))
        async with pool.worker(spec("one")).call("echo", {}) as call:
            assert [event.name async for event in call] == ["echo"]
        await pool.load(spec("three"))
        assert {status.id: status.state for status in pool.status()} == {
            "one": "ready",
            "two": "unloaded",
            "three": "ready",
        }
    finally:
        await pool.close()
