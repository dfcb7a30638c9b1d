"""The scheduler of a worker's device, with real threads."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.scheduler import Cancelled, Request, Scheduler
from core.worker import CallContext

PATIENCE = 20.0
"""Seconds after which a test that hangs fails."""


class Engine:
    """Doubles numbers, notes its runs, and can be held in the middle of one."""

    def __init__(self) -> None:
        self.runs: list[list[Any]] = []
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Semaphore(0)

    def hold(self) -> None:
        self.free.clear()

    def await_run(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE)

    def run(self, works: Sequence[Any]) -> Sequence[Any]:
        self.runs.append(list(works))
        self.begun.release()
        assert self.free.wait(PATIENCE)
        for work in works:
            if isinstance(work, BaseException):
                raise work
        return [work * 2 for work in works]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@contextmanager
def scheduling(
    run: Callable[[Sequence[Any]], Sequence[Any]] | None = None, **more: int
) -> Iterator[Scheduler[Any, Any]]:
    scheduler: Scheduler[Any, Any] = Scheduler(run, **({"slots": 1} | more))
    try:
        yield scheduler
    finally:
        in_thread(scheduler.close)


@contextmanager
def held(engine: Engine, scheduler: Scheduler[Any, Any]) -> Iterator[Future[Any]]:
    """A run of one work, held while the block runs."""
    engine.hold()
    future = scheduler.request().submit(0)
    engine.await_run()
    try:
        yield future
    finally:
        engine.free.set()
        assert future.result(PATIENCE) == 0


def in_thread(work: Callable[[], Any]) -> Any:
    """What the work returned, in a thread of its own that must end."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again below
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(PATIENCE)


class Holder:
    """A thread that takes a turn and holds it until it is told to leave."""

    def __init__(self, request: Request[Any, Any]) -> None:
        self.request = request
        self.has = threading.Event()
        self.leave = threading.Event()
        self.left: Future[None] = Future()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            with self.request.turn():
                self.has.set()
                assert self.leave.wait(PATIENCE)
        except BaseException as error:  # noqa: BLE001 - kept for the test
            self.left.set_exception(error)
        else:
            self.left.set_result(None)

    def holds(self) -> None:
        assert self.has.wait(PATIENCE)

    def end(self) -> None:
        self.leave.set()
        self.left.result(PATIENCE)


def until_waiting(scheduler: Scheduler[Any, Any], count: int) -> None:
    """Wait for threads that are about to wait for a turn."""
    pause = threading.Event()
    for _ in range(2000):
        if scheduler.waiting == count:
            return
        pause.wait(0.01)
    raise AssertionError(f"{scheduler.waiting} wait, not {count}")


def test_what_waits_goes_together_and_everybody_gets_his_own(engine: Engine) -> None:
    with scheduling(engine.run, batch=4) as scheduler:
        with held(engine, scheduler):
            requests = [scheduler.request() for _ in range(3)]
            futures = [request.submit(10 * n + m, key="k") for n, request in enumerate(requests) for m in range(2)]
            assert (scheduler.waiting, scheduler.running) == (6, 1)
        assert [future.result(PATIENCE) for future in futures] == [0, 2, 20, 22, 40, 42]
    assert engine.runs == [[0], [0, 10, 20, 1], [11, 21]]
    assert (scheduler.waiting, scheduler.running) == (0, 0)


def test_what_comes_while_a_thread_of_the_device_wakes_up_goes_along(engine: Engine) -> None:
    with scheduling(engine.run, batch=2) as scheduler:
        with scheduler._lock:
            futures = [scheduler.request().submit(n, key="k") for n in range(2)]
        assert [future.result(PATIENCE) for future in futures] == [0, 2]
    assert engine.runs == [[0, 1]]


def test_an_express_request_overtakes(engine: Engine) -> None:
    with scheduling(engine.run) as scheduler:
        with held(engine, scheduler):
            last = scheduler.request().submit(1)
            scheduler.request(express=True).submit(2)
        last.result(PATIENCE)
    assert engine.runs == [[0], [2], [1]]


def test_an_express_work_runs_beside_a_long_one_on_a_spare_thread(engine: Engine) -> None:
    express = threading.Event()

    def run(works: Sequence[str]) -> Sequence[str]:
        if works[0] == "express":
            express.set()
        else:
            engine.begun.release()
            assert express.wait(PATIENCE)
        return works

    with scheduling(run, spare=1) as scheduler:
        long = [scheduler.request().submit(f"long {n}") for n in range(2)]
        engine.await_run()
        assert scheduler.request(express=True).submit("express").result(PATIENCE) == "express"
        assert wait(long, PATIENCE).not_done == set()


def test_slots_run_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def run(works: Sequence[int]) -> Sequence[int]:
        together.wait(PATIENCE)
        return works

    with scheduling(run, slots=3) as scheduler, scheduler.request() as request:
        assert [future.result(PATIENCE) for future in [request.submit(n) for n in range(3)]] == [0, 1, 2]


def test_a_bad_row_fails_alone(engine: Engine) -> None:
    with scheduling(engine.run, batch=3) as scheduler, scheduler.request() as request:
        with held(engine, scheduler):
            good, bad, fine = (request.submit(work, key="k") for work in (1, ValueError("row"), 3))
        assert (good.result(PATIENCE), fine.result(PATIENCE)) == (2, 6)
        with pytest.raises(ValueError, match="row"):
            bad.result(PATIENCE)
        assert request.submit(4).result(PATIENCE) == 8


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_no_error_ends_the_device_or_leaves_anybody_waiting(engine: Engine, error: BaseException) -> None:
    with scheduling(engine.run) as scheduler, scheduler.request() as request:
        with pytest.raises(type(error)):
            request.submit(error).result(PATIENCE)
        assert request.submit(1).result(PATIENCE) == 2
        assert scheduler.running == 0


def test_a_run_that_loses_a_result_fails_its_works() -> None:
    runs = []

    def run(works: Sequence[int]) -> Sequence[int]:
        runs.append(works)
        return []

    with scheduling(run) as scheduler, pytest.raises(RuntimeError, match="0 results for 1 works"):
        scheduler.request().submit(1).result(PATIENCE)
    assert runs == [[1]]


def test_a_callback_that_fails_takes_no_other_result_along(engine: Engine) -> None:
    def fail(_: Future[int]) -> None:
        raise SystemExit

    with scheduling(engine.run, batch=2) as scheduler:
        with held(engine, scheduler):
            first, second = (scheduler.request().submit(n, key="k") for n in (1, 2))
            first.add_done_callback(fail)
        assert (first.result(PATIENCE), second.result(PATIENCE)) == (2, 4)
        assert scheduler.request().submit(3).result(PATIENCE) == 6


def test_a_closed_request_is_dropped_before_a_batch_is_formed(engine: Engine) -> None:
    with scheduling(engine.run, batch=4) as scheduler:
        with held(engine, scheduler):
            gone, stays = scheduler.request(), scheduler.request()
            dropped = [gone.submit(n, key="k") for n in range(2)]
            kept = stays.submit(7, key="k")
            in_thread(gone.close)
            assert wait(dropped, 0).not_done == set()
            assert scheduler.waiting == 1
            for future in dropped:
                with pytest.raises(Cancelled):
                    future.result(0)
            with pytest.raises(Cancelled):
                gone.submit(8).result(0)
            with pytest.raises(Cancelled), gone.turn():
                pass
            gone.close()
        assert kept.result(PATIENCE) == 14
    assert engine.runs == [[0], [7]]


def test_a_closed_request_does_not_wait_for_what_runs_which_keeps_its_slot(engine: Engine) -> None:
    with scheduling(engine.run) as scheduler:
        engine.hold()
        with scheduler.request() as gone:
            future = gone.submit(1)
            engine.await_run()
        with pytest.raises(Cancelled):
            future.result(0)
        other = scheduler.request().submit(2)
        assert (scheduler.waiting, scheduler.running) == (1, 1)
        engine.free.set()
        assert other.result(PATIENCE) == 4
    assert engine.runs == [[1], [2]]


def test_a_request_that_is_closed_while_its_batch_fails_is_not_tried_again(engine: Engine) -> None:
    with scheduling(engine.run, batch=2) as scheduler:
        engine.hold()
        blocker = scheduler.request().submit(0)
        engine.await_run()
        gone, stays = scheduler.request(), scheduler.request()
        gone.submit(1, key="k")
        bad = stays.submit(ValueError("row"), key="k")
        blocker.add_done_callback(lambda _: engine.hold())
        engine.free.set()
        engine.await_run()
        gone.close()
        engine.free.set()
        with pytest.raises(ValueError, match="row"):
            bad.result(PATIENCE)
    assert [len(run) for run in engine.runs] == [1, 2, 1]


def test_a_future_that_its_caller_cancels_is_left_out(engine: Engine) -> None:
    with scheduling(engine.run, batch=3) as scheduler:
        with held(engine, scheduler):
            futures = [scheduler.request().submit(n, key="k") for n in (1, 2)]
            assert futures[0].cancel()
            alone = scheduler.request().submit(3)
            assert alone.cancel()
        assert futures[1].result(PATIENCE) == 4
        assert wait([*futures, alone], PATIENCE).not_done == set()
    assert engine.runs == [[0], [2]]


def test_turns_and_works_share_the_slots(engine: Engine) -> None:
    with scheduling(engine.run) as scheduler:
        first = Holder(scheduler.request())
        first.holds()
        work = scheduler.request().submit(1)
        second = Holder(scheduler.request())
        until_waiting(scheduler, 2)
        assert engine.runs == []
        assert not second.has.is_set()
        first.end()
        assert work.result(PATIENCE) == 2
        second.holds()
        second.end()
    assert scheduler.running == 0


def test_works_need_something_that_does_them() -> None:
    with scheduling() as scheduler, pytest.raises(TypeError):
        scheduler.request().submit(1)


def test_who_waits_for_a_turn_leaves_at_once_when_the_request_is_closed() -> None:
    with scheduling() as scheduler:
        holder = Holder(scheduler.request())
        holder.holds()
        waiting = Holder(scheduler.request())
        until_waiting(scheduler, 1)
        waiting.request.close()
        with pytest.raises(Cancelled):
            waiting.left.result(PATIENCE)
        assert scheduler.waiting == 0
        # A turn that is held is not taken away.
        holder.request.close()
        assert scheduler.running == 1
        holder.end()
        assert scheduler.running == 0


def test_who_is_interrupted_while_it_waits_for_a_turn_leaves_the_queue() -> None:
    def interrupt(*_: object) -> None:
        raise ZeroDivisionError

    def send() -> None:
        until_waiting(scheduler, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with scheduling() as scheduler:
            holder = Holder(scheduler.request())
            holder.holds()
            threading.Thread(target=send, daemon=True).start()
            with pytest.raises(ZeroDivisionError), scheduler.request().turn():
                pass
            assert scheduler.waiting == 0
            holder.end()
            assert scheduler.running == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_turn_that_ends_in_an_error_is_given_back() -> None:
    with scheduling() as scheduler:
        with pytest.raises(ZeroDivisionError), scheduler.request().turn():
            raise ZeroDivisionError
        with scheduler.request().turn():
            assert scheduler.running == 1


def test_a_turn_whose_thread_ended_without_leaving_is_given_back() -> None:
    with scheduling() as scheduler:
        in_thread(lambda: scheduler.request().turn().__enter__())
        gc.collect()
        with scheduler.request().turn():
            assert scheduler.running == 1


def generator(scheduler: Scheduler[Any, Any], parts: list[str]) -> Iterator[int]:
    """What a handler is: it holds a turn while it yields."""
    with scheduler.request() as request, request.turn():
        parts.append("held")
        try:
            yield 1
        finally:
            parts.append("left")


def test_a_generator_that_is_forgotten_gives_its_turn_back() -> None:
    parts: list[str] = []
    with scheduling() as scheduler:
        events = generator(scheduler, parts)
        assert next(events) == 1
        del events
        gc.collect()
        assert parts == ["held", "left"]
        assert scheduler.running == 0


def test_a_generator_may_be_collected_in_the_middle_of_a_change(engine: Engine) -> None:
    with scheduling(engine.run) as scheduler:
        events = [generator(scheduler, [])]
        next(events[0])
        queue = scheduler._queue
        add = queue.add

        def collecting(*args: Any, **more: Any) -> None:
            events.clear()
            # Nothing has moved while the queue is being changed.
            assert queue.running == 1
            add(*args, **more)

        queue.add = collecting  # type: ignore[method-assign]
        assert in_thread(lambda: scheduler.request().submit(1).result(PATIENCE)) == 2


def test_closing_drops_what_waits_and_waits_for_what_runs(engine: Engine) -> None:
    scheduler: Scheduler[int, int] = Scheduler(engine.run, slots=1)
    engine.hold()
    request = scheduler.request()
    running, waiting = request.submit(1), request.submit(2)
    engine.await_run()
    turn = Holder(scheduler.request())
    until_waiting(scheduler, 2)
    with ThreadPoolExecutor() as pool:
        closing = [pool.submit(scheduler.close) for _ in range(2)]
        for future in (waiting, turn.left):
            with pytest.raises(Cancelled):
                future.result(PATIENCE)
        assert not any(future.done() for future in closing)
        engine.free.set()
        assert wait(closing, PATIENCE).not_done == set()
    assert running.result(0) == 2
    assert engine.runs == [[1]]
    with pytest.raises(Cancelled):
        request.submit(3).result(0)
    with pytest.raises(Cancelled), scheduler.request().turn():
        pass
    assert not any(thread.is_alive() for thread in scheduler._threads)


def test_closing_does_not_wait_for_itself(engine: Engine) -> None:
    scheduler: Scheduler[int, int] = Scheduler(engine.run, slots=2)
    together, closed = threading.Barrier(2), threading.Semaphore(0)

    def close(_: Future[int]) -> None:
        together.wait(PATIENCE)
        scheduler.close()
        closed.release()

    engine.hold()
    for number in range(2):
        scheduler.request().submit(number).add_done_callback(close)
    engine.free.set()
    for _ in range(2):
        assert closed.acquire(timeout=PATIENCE)
    in_thread(scheduler.close)
    with scheduling() as turns, turns.request().turn():
        in_thread(turns.close)


def test_a_cancelled_call_closes_its_requests(engine: Engine) -> None:
    context = CallContext()
    with scheduling(engine.run) as scheduler:
        with held(engine, scheduler):
            future = scheduler.request(context=context).submit(1)
            context.cancel()
            with pytest.raises(Cancelled):
                future.result(0)
        with pytest.raises(Cancelled):
            scheduler.request(context=context).submit(2).result(0)
    assert engine.runs == [[0]]


def test_a_call_is_told_when_it_is_on_the_device(engine: Engine) -> None:
    told: list[tuple[str, bool]] = []
    contexts = {name: CallContext(lambda on, name=name: told.append((name, on))) for name in "ab"}  # type: ignore[misc]
    with scheduling(engine.run, batch=4) as scheduler:
        requests = {name: scheduler.request(context=context) for name, context in contexts.items()}
        with held(engine, scheduler):
            futures = [requests[name].submit(1, key="k") for name in "aab"]
            assert told == []
        assert wait(futures, PATIENCE).not_done == set()
        assert sorted(told) == [("a", False), ("a", True), ("b", False), ("b", True)]
        assert {on for _, on in told[:2]} == {True}
        told.clear()
        with requests["a"].turn():
            assert told == [("a", True)]
        assert told == [("a", True), ("a", False)]


def test_a_call_is_on_the_device_as_long_as_any_of_its_works_is() -> None:
    told: list[bool] = []
    context = CallContext(told.append)
    with context.working():
        with context.working():
            assert told == [True]
        assert told == [True]
    assert told == [True, False]


def test_a_cancellation_is_told_once_and_to_late_comers_too() -> None:
    told: list[str] = []
    context = CallContext()
    context.on_cancel(lambda: told.append("early"))
    assert not context.cancelled
    context.cancel()
    context.cancel()
    context.on_cancel(lambda: told.append("late"))
    assert context.cancelled
    assert told == ["early", "late"]


class Calls:
    """Calls in threads of their own that submit works and take turns; some cancel their neighbour in the middle.

    `plan` has for each call whether it is express, its works, and before which of them it cancels the next call.
    """

    def __init__(self, plan: list[tuple[bool, list[str | None], int | None]]) -> None:
        self.plan = plan
        self.contexts = [CallContext() for _ in plan]
        self.done: list[tuple[int, int]] = []
        self.most = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._together = threading.Barrier(len(plan) + 1)

    @contextmanager
    def on_device(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
            self.most = max(self.most, self._busy)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def run(self, works: Sequence[tuple[int, int, str]]) -> Sequence[tuple[int, int]]:
        with self.on_device():
            if any(kind == "bad" for *_, kind in works):
                raise ValueError("row")
            names = [(call, index) for call, index, _ in works]
            with self._lock:
                self.done.extend(names)
            return names

    def call(self, scheduler: Scheduler[Any, Any], number: int) -> None:
        express, works, victim = self.plan[number]
        with scheduler.request(express=express, context=self.contexts[number]) as request:
            self._together.wait(PATIENCE)
            futures: list[tuple[int, str | None, Future[Any]]] = []
            for index, kind in enumerate(works):
                if index == victim:
                    self.contexts[(number + 1) % len(self.plan)].cancel()
                if kind == "turn":
                    with request.turn(), self.on_device():
                        pass
                else:
                    key = "a" if kind == "bad" else kind
                    futures.append((index, kind, request.submit((number, index, str(kind)), key=key)))
            self.check(number, futures)

    def check(self, number: int, futures: list[tuple[int, str | None, Future[Any]]]) -> None:
        for index, kind, future in futures:
            if kind == "bad":
                with pytest.raises((ValueError, Cancelled)):
                    future.result(PATIENCE)
            else:
                assert future.result(PATIENCE) == (number, index)

    def all(self, scheduler: Scheduler[Any, Any]) -> None:
        with ThreadPoolExecutor(len(self.plan) + 1) as pool:
            calls = [pool.submit(self.call, scheduler, number) for number in range(len(self.plan))]
            self._together.wait(PATIENCE)
            for call, context in zip(calls, self.contexts, strict=True):
                error = call.exception(PATIENCE)
                assert error is None or (isinstance(error, Cancelled) and context.cancelled), error

    def named(self, *, but_cancelled: bool) -> set[tuple[int, int]]:
        """All works that the engine can do."""
        return {
            (number, index)
            for number, (_, works, _) in enumerate(self.plan)
            for index, kind in enumerate(works)
            if kind not in {"bad", "turn"} and not (but_cancelled and self.contexts[number].cancelled)
        }


KINDS = st.sampled_from(["a", "b", None, "turn", "bad"])
PLANS = st.lists(
    st.tuples(st.booleans(), st.lists(KINDS, max_size=6), st.one_of(st.none(), st.integers(0, 6))), max_size=8
)


@given(plan=PLANS, slots=st.integers(1, 3), batch=st.integers(1, 4), spare=st.integers(0, 1))
@settings(max_examples=60, deadline=None)
def test_whatever_calls_do_nothing_is_lost_done_twice_or_left_hanging(
    plan: list[tuple[bool, list[str | None], int | None]], slots: int, batch: int, spare: int
) -> None:
    calls = Calls(plan)
    with scheduling(calls.run, slots=slots, batch=batch, spare=spare) as scheduler:
        calls.all(scheduler)
    assert (scheduler.waiting, scheduler.running) == (0, 0)
    assert len(calls.done) == len(set(calls.done))
    assert calls.named(but_cancelled=True) <= set(calls.done) <= calls.named(but_cancelled=False)
    assert calls.most <= slots + spare
