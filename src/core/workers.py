"""The supervisor: one worker per loaded model, loaded on first use, restarted when it dies, ended to unload."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Literal

from core import errors
from core.lanes import Lane
from core.process import Call, WorkerProcess, WorkerSpec

log = logging.getLogger(__name__)

State = Literal["unloaded", "loading", "ready", "failed"]
CANCEL_GRACE = 10.0
"""Seconds a worker gets to stop a cancelled call before it is ended."""
DEATH_WINDOW = 60.0
MAX_BACKOFF = 30.0
LOAD_PATIENCE = 5
"""Load timeouts after which a process that is still loading is taken for stuck and ended."""
FREE_RESTARTS = 3
"""Deaths within DEATH_WINDOW seconds that are followed by an immediate restart; later ones wait 1, 2, 4 … 30 s."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What `GET /health` and `doctor` tell about a worker; `rss_bytes` is None where the system does not say."""

    id: str
    state: State
    pid: int | None
    rss_bytes: int | None
    calls: int
    waiting: int
    restarts: int
    error: str | None
    facts: Mapping[str, Any]


async def _room_enough(_: Worker) -> None:
    """Do nothing: a worker alone in the world has all the room it needs."""


class Worker:
    """One model and the process that serves it, over any number of lives of that process.

    `make_room` is awaited before a call loads the model, `has_room` asked before a process that died comes back.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        has_room: Callable[[Worker], bool] = lambda _: True,
        make_room: Callable[[Worker], Awaitable[None]] = _room_enough,
    ) -> None:
        self.spec = spec
        self._has_room = has_room
        self._make_room = make_room
        self._roomless = 0
        """Calls that wait for room, and hold none themselves."""
        self.facts: dict[str, Any] = {}
        """What the engine reported about itself when it was last loaded."""
        self.last_used = time.monotonic()
        self._process: WorkerProcess | None = None
        self._loading: asyncio.Task[WorkerProcess] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._error: errors.VoiceStackError | None = None
        self._lane = Lane(spec.slots)
        self._short_lane = Lane(spec.short_slots) if spec.short_slots else self._lane
        self._calls = 0
        self._restarts = 0
        self._deaths: deque[float] = deque(maxlen=16)
        self._idle: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._closed = False

    @property
    def state(self) -> State:
        """Return unloaded, loading, ready or failed."""
        if self._process is not None and not self._process.closed.is_set():
            return "ready"
        if self._loading is not None and not self._loading.done():
            return "loading"
        return "failed" if self._error is not None else "unloaded"

    @property
    def busy(self) -> bool:
        """Whether calls are running or waiting; those that wait for room hold none themselves."""
        return bool(self._calls or self._in_lanes)

    @property
    def _in_lanes(self) -> int:
        return sum(lane.waiting for lane in {self._lane, self._short_lane})

    def status(self) -> WorkerStatus:
        """Return a snapshot."""
        process = self._process
        return WorkerStatus(
            id=self.spec.name,
            state=self.state,
            pid=process.pid if process else None,
            rss_bytes=process.rss_bytes if process else None,
            calls=self._calls,
            waiting=self._in_lanes + self._roomless,
            restarts=self._restarts,
            error=self._error.message if self._error else None,
            facts=self.facts,
        )

    async def load(self) -> WorkerProcess:
        """Return the running process, starting it when there is none; callers at the same time share one start.

        Raises ModelLoading when it takes longer than `spec.load_timeout` (the load goes on), or what the load raised.
        """
        if self._process is not None and not self._process.closed.is_set():
            return self._process
        loading = self.begin_load()
        try:
            async with asyncio.timeout(self.spec.load_timeout):
                return await asyncio.shield(loading)
        except TimeoutError:
            raise errors.ModelLoading(f"the model {self.spec.name} is still loading; try again soon") from None

    def begin_load(self) -> asyncio.Task[WorkerProcess]:
        """Start to load, unless that is under way; the model counts as loading from now on.

        Raises Unavailable while a worker that keeps dying is left alone, Draining after `close`.
        """
        if self._loading is None or self._loading.done():
            self._check_backoff()
            self._loading = self._spawn(self._start())
        return self._loading

    @asynccontextmanager
    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        body: bytes = b"",
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
        call: Call | None = None
        try:
            process = await self.load()
            call = process.open_call(method, params, body, timeout=timeout)
            self._spawn(self._release_after(call, lane))
            yield call
        finally:
            # Tasks of their own, because the caller may be inside a cancelled scope, where every await is cut short.
            if call is None:
                self._release(lane)
            elif not call.done.is_set():
                self._spawn(self._cancel(call))

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
        """End the process; the next call loads the model again."""
        process, self._process = self._process, None
        self._stop_idle_timer()
        if process is not None:
            log.info("unloading %s", self.spec.name)
            await process.stop()

    def drain(self) -> None:
        """Take no more calls and turn away those that wait; those that run go on."""
        self._draining = True
        for lane in (self._lane, self._short_lane):
            lane.refuse(_draining())

    async def close(self) -> None:
        """Unload, and end everything in the background."""
        self._closed = True
        for task in (self._watching, self._loading):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.unload()
        # What is left waits for the process to end, which it has been told to.
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self) -> WorkerProcess:
        started = time.monotonic()
        self._error = None
        process = await self._spawned()
        try:
            async with asyncio.timeout(LOAD_PATIENCE * self.spec.load_timeout):
                self.facts = await process.ready()
        except TimeoutError:
            self._error = errors.EngineCrashed(f"{self.spec.name} did not load; its process was ended")
            process.kill()
            await process.closed.wait()
            self._deaths.append(time.monotonic())
            raise self._error from None
        except errors.EngineCrashed as error:
            self._deaths.append(time.monotonic())
            self._error = error
            raise
        except errors.VoiceStackError as error:
            self._error = error
            await process.stop()
            raise
        except asyncio.CancelledError:
            process.kill()
            await process.closed.wait()
            raise
        log.info("loaded %s in %.1f s (pid %d)", self.spec.name, time.monotonic() - started, process.pid)
        self._process = process
        if self._watching is not None:
            # The watcher of the life before may still be waiting to restart what is running now.
            self._watching.cancel()
        self._watching = self._spawn(self._watch(process))
        self._start_idle_timer()
        return process

    async def _spawned(self) -> WorkerProcess:
        """Start a process; a cancellation in the middle of it would leave one that nobody knows."""
        starting = asyncio.ensure_future(WorkerProcess.start(self.spec))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            process = await starting
            process.kill()
            await process.closed.wait()
            raise

    async def _watch(self, process: WorkerProcess) -> None:
        await process.closed.wait()
        if self._process is not process or self._closed:
            return
        self._process = None
        self._error = errors.EngineCrashed("the engine's process ended")
        self._restarts += 1
        if not process.ended_on_purpose:
            self._deaths.append(time.monotonic())
        delay = self._backoff()
        log.error("worker of %s (pid %d) ended; restarting in %.0f s", self.spec.name, process.pid, delay)
        while not self._closed:
            await asyncio.sleep(delay)
            if not self._has_room(self):
                # Another model was loaded meanwhile; the next call makes room again.
                self._error = None
                return
            try:
                await self.load()
            except errors.ConfigurationError:
                return
            except errors.VoiceStackError:
                delay = min(max(2 * delay, 1.0), MAX_BACKOFF)
            else:
                return

    def _backoff(self) -> float:
        """Return seconds from the last death to the next start."""
        recent = sum(1 for death in self._deaths if time.monotonic() - death < DEATH_WINDOW)
        return 0.0 if recent <= FREE_RESTARTS else min(2.0 ** (recent - FREE_RESTARTS - 1), MAX_BACKOFF)

    def _check_backoff(self) -> None:
        if self._closed:
            raise _draining()
        if self._deaths and (left := self._deaths[-1] + self._backoff() - time.monotonic()) > 0:
            error = errors.Unavailable(f"the engine of {self.spec.name} keeps crashing; waiting before a restart")
            error.retry_after = math.ceil(left)
            raise error

    async def _cancel(self, call: Call) -> None:
        call.cancel()
        try:
            async with asyncio.timeout(CANCEL_GRACE):
                await call.done.wait()
        except TimeoutError:
            log.warning("call %d of %s did not stop; ending its worker", call.number, self.spec.name)
            call.kill()

    async def _release_after(self, call: Call, lane: Lane) -> None:
        """Give the slot back when the worker is done, neither before nor when a slow reader has taken everything."""
        await call.done.wait()
        self._release(lane)

    def _release(self, lane: Lane) -> None:
        self._calls -= 1
        self.last_used = time.monotonic()
        lane.release()
        self._start_idle_timer()

    def _start_idle_timer(self) -> None:
        if self.spec.idle_unload >= 0 and not self.busy and not self._closed:
            self._stop_idle_timer()
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(self.spec.idle_unload, lambda: self._spawn(self._unload_if_idle()))

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def _unload_if_idle(self) -> None:
        if not self.busy:
            await self.unload()

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        # A context of its own: what outlives a request must not log under the request's id.
        task = asyncio.create_task(coroutine, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at, so that a load nobody waits for any more does not end as a complaint in the log.
            task.exception()


def _draining() -> errors.Draining:
    return errors.Draining("the service is shutting down")
