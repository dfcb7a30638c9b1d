"""The supervisor: one worker per model, which is a queue in front of the processes that serve the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from core import errors
from core.background import Background
from core.lanes import Lane
from core.process import Call, WorkerSpec
from core.replica import Replica, State, WorkerStatus
from core.replicas import Replicas


class CallOptions(TypedDict, total=False):
    """How a call is made; see Worker.call."""

    timeout: float
    short: bool
    wait: bool


async def _nothing(_: Worker) -> None:
    """Do nothing: a worker alone in the world has all the room it needs."""


Hook = Callable[["Worker"], Coroutine[Any, Any, None]]


class Worker:
    """One model, loaded on first use, ended to unload, and the queue in front of its processes.

    `make_room` is awaited before a call loads the model, `may_return` asked before a process that died comes back, and
    `look_again` awaited, beside all else, when one has loaded.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        may_return: Callable[[Worker], bool] = lambda _: True,
        make_room: Hook = _nothing,
        look_again: Hook = _nothing,
    ) -> None:
        self.spec = spec
        self._make_room = make_room
        self._look_again = look_again
        self._roomless = 0
        """Calls that wait for room, and hold none themselves."""
        self.facts: dict[str, Any] = {}
        """What the engine reported about itself when it was last loaded."""
        self.last_used = time.monotonic()
        self._background = Background()
        self._replicas = Replicas(
            spec, background=self._background, may_return=lambda: may_return(self), changed=self._changed
        )
        self._lane = Lane(spec.slots)
        self._short_lane = Lane(spec.short_slots) if spec.short_slots else self._lane
        self._calls = 0
        self._left: set[Call] = set()
        """Those that still run though their callers have gone."""
        self._idle: asyncio.TimerHandle | None = None
        self._draining = False
        self._closed = False

    @property
    def state(self) -> State:
        """Return ready when a process answers, else loading, failed or unloaded."""
        return self._replicas.state

    @property
    def error(self) -> str | None:
        """Why a process of it is down, None while all are well."""
        return next((replica.error.message for replica in self._replicas.all if replica.error), None)

    @property
    def processes(self) -> int:
        """How many processes it has when all are loaded."""
        return len(self._replicas.all)

    @property
    def needs(self) -> int:
        """The bytes that its processes had when they were last loaded, as far as is known."""
        return self._replicas.needs

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for calls, running or waiting ones."""
        return self._calls - len(self._left) + self._in_lanes > 0

    @property
    def busy(self) -> bool:
        """Whether calls are running or waiting; those that wait for room hold none themselves."""
        return bool(self._calls or self._in_lanes)

    @property
    def _in_lanes(self) -> int:
        return sum(lane.waiting for lane in {self._lane, self._short_lane})

    def status(self) -> list[WorkerStatus]:
        """Return a snapshot of each process; the queue in front of them is told of with the first."""
        waiting = self._in_lanes + self._roomless
        return [replica.status(waiting=0 if place else waiting) for place, replica in enumerate(self._replicas.all)]

    def reconfigure(self, spec: WorkerSpec) -> None:
        """Run this from the next load on; only for a worker that is neither loaded nor busy."""
        self.spec = spec
        self._replicas.reconfigure(spec)
        self._resize()

    async def load(self) -> Replica:
        """Return the running process with the fewest calls, starting one on every device when there is none.

        Answers as soon as one is ready; callers at the same time share one start. Raises ModelLoading when it takes
        longer than `spec.load_timeout` (the load goes on), Conflict when it is unloaded meanwhile, or what the load
        raised.
        """
        return await self._replicas.load()

    def begin_load(self) -> None:
        """Start to load, unless that is under way; the model counts as loading from now on.

        Raises Unavailable while a worker that keeps dying is left alone, Draining after `close`.
        """
        self._replicas.begin_load()

    @asynccontextmanager
    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        timeout: float = 3600.0,
        short: bool = False,
        wait: bool = False,
    ) -> AsyncIterator[Call]:
        """Wait for a slot and the model, start a call, and on leaving make sure that it has ended.

        A `short` call never waits behind the others where the spec has short slots. Raises QueueFull when
        `spec.max_waiting` calls wait already, unless the caller would rather `wait` as long as it takes; Draining
        after `drain`.
        """
        lane = self._short_lane if short else self._lane
        await self._queue(lane, wait=wait)
        self._calls += 1
        self._stop_idle_timer()
        opened: tuple[Replica, Call] | None = None
        try:
            replica = await self.load()
            opened = replica, replica.open_call(method, params, timeout=timeout)
            self._background.spawn(self._release_after(*opened, lane))
            yield opened[1]
        finally:
            # Tasks of their own, because the caller may be inside a cancelled scope, where every await is cut short.
            if opened is None:
                self._release(lane)
            elif not opened[1].done.is_set():
                self._left.add(opened[1])
                self._background.spawn(opened[0].cancel(opened[1]))

    async def _queue(self, lane: Lane, *, wait: bool) -> None:
        """Wait for room, the model and a slot. Raises QueueFull, Draining and what the load raises."""
        self._check_draining()
        # Those who will have the free slots once the model is loaded are on their way to them, not in a queue.
        if lane.waiting + self._roomless >= self.spec.max_waiting + lane.free and not wait:
            raise errors.QueueFull("too many requests are waiting; try again soon")
        self._roomless += 1
        try:
            await self._make_room(self)
        finally:
            self._roomless -= 1
        lane.waiting += 1
        try:
            # Loaded before the slot is waited for: all who wait share one load, and one failure answers them all.
            await self.load()
            self._check_draining()
            await lane.acquire()
        finally:
            lane.waiting -= 1

    def _check_draining(self) -> None:
        if self._draining:
            raise _draining()

    async def unload(self) -> None:
        """End the processes; the next call loads the model again."""
        await self._begin_unload()

    def _begin_unload(self) -> asyncio.Task[None]:
        """Have no process from now on; the task is done when those there were have ended."""
        self._stop_idle_timer()
        return self._replicas.unload()

    def drain(self) -> None:
        """Take no more calls and turn away those that wait; those that run go on."""
        self._draining = True
        for lane in (self._lane, self._short_lane):
            lane.refuse(_draining())

    async def close(self) -> None:
        """Unload, and end everything in the background."""
        self._closed = True
        self._stop_idle_timer()
        self._replicas.close()
        # What is left waits for the processes to end, which they have been told to.
        await self._background.ended()

    def _changed(self, replica: Replica) -> None:
        """Take note of a process that has become ready, has failed to load, or has died."""
        if replica.process is not None:
            self.facts = replica.facts
            self._start_idle_timer()
            self._background.spawn(self._look_again(self))
        self._resize()

    def _resize(self) -> None:
        """Have as many slots as the processes that answer; those of one where none does."""
        answering = max(len(self._replicas.ready), 1)
        self._lane.resize(self.spec.slots * answering)
        if self._short_lane is not self._lane:
            self._short_lane.resize(self.spec.short_slots * answering)

    async def _release_after(self, replica: Replica, call: Call, lane: Lane) -> None:
        """Give the slot back when the worker is done, neither before nor when a slow reader has taken everything."""
        await call.done.wait()
        replica.calls -= 1
        self._left.discard(call)
        self._release(lane)
        await replica.watch(call)

    def _release(self, lane: Lane) -> None:
        self._calls -= 1
        self.last_used = time.monotonic()
        lane.release()
        self._start_idle_timer()

    def _start_idle_timer(self) -> None:
        if self.spec.idle_unload >= 0 and not self.busy and not self._closed:
            self._stop_idle_timer()
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self.spec.idle_unload, self._unload_if_idle)

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _unload_if_idle(self) -> None:
        if not self.busy and self.state != "loading":
            self._begin_unload()


def _draining() -> errors.Draining:
    return errors.Draining("the service is shutting down")
