"""The process of a model on one device, over its lives: loaded once for all who wait, restarted when it dies, ended."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core import errors, memory
from core.background import Background
from core.backoff import Backoff, longer
from core.process import Call, WorkerProcess, WorkerSpec

log = logging.getLogger(__name__)

State = Literal["unloaded", "loading", "ready", "failed"]
CANCEL_GRACE = 10.0
"""Seconds a process gets to stop a cancelled call before it is ended."""
STUCK_SECONDS = 120.0
"""Seconds that the work of a call may stay on the device when nobody waits for it: longer than any run takes."""
LOAD_PATIENCE = 5
"""Load timeouts after which a process that is still loading is taken for stuck and ended."""
RETRY_SECONDS = 1.0
"""Seconds after which a load that failed is tried again where another device answers meanwhile."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What `GET /health` and `doctor` tell about a process; `rss_bytes` is None where the system does not say.

    `waiting` calls wait for any process of the model, and are told of its first.
    """

    id: str
    state: State
    pid: int | None
    rss_bytes: int | None
    calls: int
    waiting: int
    restarts: int
    error: str | None
    facts: Mapping[str, Any]


class Replica:
    """One process of a worker.

    `may_return` is asked before a process that died comes back. `changed` is called when a process has become ready,
    and when it has failed to load or died.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        name: str,
        background: Background,
        may_return: Callable[[], bool],
        changed: Callable[[Replica], None],
    ) -> None:
        self.spec = spec
        self.name = name
        self.calls = 0
        """Calls it works on: `open_call` counts them, and who opened one counts it out when it is done."""
        self.facts: dict[str, Any] = {}
        """What the engine reported about itself when it was last loaded."""
        self.needs = 0
        """The bytes that its process had when it was last loaded; 0 before, and where the system does not say."""
        self.error: errors.VoiceStackError | None = None
        """Why it is down."""
        self._background = background
        self._may_return = may_return
        self._changed = changed
        self._process: WorkerProcess | None = None
        self._loading: asyncio.Task[WorkerProcess] | None = None
        self._keeper: asyncio.Task[None] | None = None
        """Waits for the end of the process, and then for the time to start it again."""
        self._restarts = 0
        self._backoff = Backoff()
        self._closed = False

    @property
    def process(self) -> WorkerProcess | None:
        """The process, once it answers and as long as it lives."""
        return None if self._process is None or self._process.closed.is_set() else self._process

    @property
    def state(self) -> State:
        """Return unloaded, loading, ready or failed."""
        if self.process is not None:
            return "ready"
        if self._loading is not None and not self._loading.done():
            return "loading"
        return "failed" if self.error is not None else "unloaded"

    def status(self, *, waiting: int) -> WorkerStatus:
        """Return a snapshot."""
        process = self._process
        return WorkerStatus(
            id=self.name,
            state=self.state,
            pid=process.pid if process else None,
            rss_bytes=process.rss_bytes if process else None,
            calls=self.calls,
            waiting=waiting,
            restarts=self._restarts,
            error=self.error.message if self.error else None,
            facts=self.facts,
        )

    def begin_load(self) -> asyncio.Task[WorkerProcess]:
        """Start to load, unless that is under way.

        Raises Unavailable while a process that keeps dying is left alone, Draining after `close`.
        """
        if self._loading is None or self._loading.done():
            self._check_backoff()
            self._loading = self._background.spawn(self._start())
        return self._loading

    def retry(self) -> None:
        """Load again, after a while and until it works, what could not be loaded; unless it never can be."""
        if self.error is not None and not _is_hopeless(self.error) and (self._keeper is None or self._keeper.done()):
            self._keeper = self._background.spawn(self._come_back(RETRY_SECONDS))

    def open_call(self, method: str, params: Mapping[str, Any], *, timeout: float) -> Call:
        """Start a call that must end within `timeout` seconds; EngineCrashed where no process answers."""
        if self.process is None:
            raise errors.EngineCrashed("the engine's process ended before the request reached it")
        self.calls += 1
        return self.process.open_call(method, params, timeout=timeout)

    def unload(self) -> asyncio.Task[None]:
        """Be unloaded from now on; the task returned is done when the process has ended."""
        process, self._process, self.error = self._process, None, None
        tasks = [task for task in (self._keeper, self._loading) if task is not None]
        self._keeper = self._loading = None
        for task in tasks:
            task.cancel()
        return self._background.spawn(self._end(process, tasks))

    def close(self) -> asyncio.Task[None]:
        """Unload, never to load again."""
        self._closed = True
        return self.unload()

    async def cancel(self, call: Call) -> None:
        """Ask the process to stop a call, and end a process that does not."""
        call.cancel()
        if await _stopped(call):
            return
        if call.on_device:
            # A run cannot be broken off, and that of a large model on a CPU takes its time.
            await self.watch(call)
            if await _stopped(call):
                return
        log.warning("call %d of %s did not stop; ending its process", call.number, self.name)
        call.kill()

    async def watch(self, call: Call) -> None:
        """Wait for the device to be done with a call that has ended, and end a process where it is stuck with it."""
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await call.off_device()
        except TimeoutError:
            log.warning("the device of %s is stuck with call %d; ending its process", self.name, call.number)
            call.kill()

    async def _end(self, process: WorkerProcess | None, tasks: list[asyncio.Task[Any]]) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)
        if process is not None:
            log.info("unloading %s", self.name)
            await process.stop()

    async def _start(self) -> WorkerProcess:
        self.error = None
        try:
            process = await self._loaded()
        except errors.VoiceStackError as error:
            self.error = error
            self._changed(self)
            raise
        self._process, self.error = process, None
        if self._keeper is not None:
            # The keeper of the life before may still be waiting to restart what is running now.
            self._keeper.cancel()
        self._keeper = self._background.spawn(self._keep(process))
        self._changed(self)
        return process

    async def _loaded(self) -> WorkerProcess:
        """Return a process that has loaded the model; what has not is ended."""
        started = time.monotonic()
        process = await self._spawned()
        try:
            async with asyncio.timeout(LOAD_PATIENCE * self.spec.load_timeout):
                self.facts = await process.ready()
            self._check_memory(process)
        except TimeoutError:
            await _kill(process)
            self._backoff.count()
            raise errors.EngineCrashed(f"{self.name} did not load; its process was ended") from None
        except errors.EngineCrashed:
            self._backoff.count()
            raise
        except errors.VoiceStackError:
            await process.stop()
            raise
        except asyncio.CancelledError:
            await _kill(process)
            raise
        log.info("loaded %s in %.1f s (pid %d)", self.name, time.monotonic() - started, process.pid)
        return process

    def _check_memory(self, process: WorkerProcess) -> None:
        self.needs = process.rss_bytes or 0
        memory.check(self.spec.name, self.needs, self.spec.memory)

    async def _spawned(self) -> WorkerProcess:
        """Start a process; a cancellation in the middle of it would leave one that nobody knows."""
        starting = asyncio.ensure_future(WorkerProcess.start(self.spec))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _kill(await starting)
            raise

    async def _keep(self, process: WorkerProcess) -> None:
        await process.closed.wait()
        self._process = None
        self.error = errors.EngineCrashed("the engine's process ended")
        self._restarts += 1
        if not process.ended_on_purpose:
            self._backoff.count()
        delay = self._backoff.delay
        log.error("process %d of %s ended", process.pid, self.name)
        self._changed(self)
        await self._come_back(delay)

    async def _come_back(self, delay: float) -> None:
        while True:
            await asyncio.sleep(delay)
            if not self._may_return():
                # Nobody needs it now, or another model was loaded meanwhile: the next call makes room and loads it.
                log.info("%s stays unloaded until it is asked for", self.name)
                self.error = None
                return
            try:
                await asyncio.shield(self.begin_load())
            except errors.VoiceStackError as error:
                if _is_hopeless(error):
                    return
                delay = longer(delay)
            else:
                return

    def _check_backoff(self) -> None:
        if self._closed:
            raise errors.Draining("the service is shutting down")
        if (left := self._backoff.left) > 0:
            error = errors.Unavailable(f"the engine of {self.name} keeps crashing; waiting before a restart")
            error.retry_after = math.ceil(left)
            raise error


def _is_hopeless(error: errors.VoiceStackError) -> bool:
    """Return whether to load again would fail again."""
    return error.is_final or isinstance(error, errors.ConfigurationError)


async def _stopped(call: Call) -> bool:
    """Give a cancelled call the time to stop, and tell whether it has."""
    try:
        async with asyncio.timeout(CANCEL_GRACE):
            await call.done.wait()
    except TimeoutError:
        return False
    return True


async def _kill(process: WorkerProcess) -> None:
    process.kill()
    await process.closed.wait()
