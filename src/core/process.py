"""One life of a worker process, seen from the API process: started, ready, calls multiplexed over it, ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import errors, pipe
from core.pipe import Frame
from core.worker import Event

log = logging.getLogger(__name__)
_STDERR = 2
# One malloc arena: what a thread frees is there for the next; no worker may ask a model hub for anything; threads of
# numpy would take cores from the decoders for spectrograms that one makes in milliseconds.
WORKER_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUTF8": "1",
}


def _environment(tmp: str) -> dict[str, str]:
    """Return a worker's environment: CUDA libraries that came as wheels are found like those of the system."""
    folders = [str(folder) for folder in Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib")]
    given = os.environ.get("LD_LIBRARY_PATH", "")
    path = os.pathsep.join([given, *folders] if given else folders)
    return {**os.environ, **WORKER_ENVIRONMENT, "TMPDIR": tmp} | ({"LD_LIBRARY_PATH": path} if path else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What a worker process runs: `handler` is "module:Class" of a WorkerHandler, `config` its JSON configuration.

    There is one process for each of `devices`, which finds its own in `config["device_index"]`. In each of them `slots`
    calls run at once and beside them `short_slots` short ones; `max_waiting` calls of either kind may queue.
    `load_timeout` and `idle_unload` are seconds (-1: never unloaded); `tmp` is where its temporary folder is made.
    `size` are the bytes of its weights, 0 where nobody asks; `memory` those that a process may have when it has loaded,
    0 where there is no limit. What computes elsewhere takes no slot of the models.
    """

    name: str
    handler: str
    config: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[int, ...] = (0,)
    slots: int = 1
    short_slots: int = 0
    max_waiting: int = 64
    load_timeout: float = 120.0
    idle_unload: float = -1.0
    log_level: str = "INFO"
    tmp: Path | None = None
    size: int = 0
    memory: int = 0
    takes_slot: bool = True


class Call:
    """A call in progress: iterate it for its events. Made by WorkerProcess.open_call."""

    def __init__(self, process: WorkerProcess, number: int, deadline: float) -> None:
        self._process = process
        self._frames: asyncio.Queue[Frame | errors.VoiceStackError] = asyncio.Queue()
        self._deadline = deadline
        self.number = number
        self.model: str | None = None
        """What its errors name as the model that failed."""
        self.done = asyncio.Event()
        """Set when the worker has finished with the call, in whatever way."""

    def deliver(self, item: Frame | errors.VoiceStackError) -> None:
        """Hand over what the worker sent, or the error that ended the process."""
        if isinstance(item, errors.VoiceStackError) or item.kind in {"end", "error"}:
            self.done.set()
        self._frames.put_nowait(item)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events in order; raise what the engine raised, EngineCrashed, or DeadlineExceeded.

        After that the call still runs, until whoever opened it has cancelled it.
        """
        while (frame := await self._next()).kind != "end":
            yield Event(name=frame.data["name"], data=frame.data["data"], body=frame.body)

    async def _next(self) -> Frame:
        with errors.of_model(self.model):
            item = await self._delivered()
            if isinstance(item, errors.VoiceStackError):
                raise item
            if item.kind == "error":
                raise errors.restore(item.data)
            return item

    async def _delivered(self) -> Frame | errors.VoiceStackError:
        remaining = self._deadline - time.monotonic()
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the result.
            async with asyncio.timeout(remaining):
                return await self._frames.get()
        except TimeoutError:
            log.warning("call %d of worker %d passed its deadline", self.number, self._process.pid)
            raise errors.DeadlineExceeded("the request took longer than the service allows") from None

    def cancel(self) -> None:
        """Ask the worker to stop; `done` is set when it has."""
        if not self.done.is_set():
            self._process.send(Frame("cancel", call=self.number))

    @property
    def on_device(self) -> bool:
        """Whether something of the call is on the device."""
        return self._process.is_on_device(self.number)

    async def off_device(self) -> None:
        """Wait until nothing of the call is on the device, where its work may go on after its end."""
        await self._process.off_device(self.number)

    def kill(self) -> None:
        """End the worker process that the call runs in, which then does not count as a crash."""
        self._process.ended_on_purpose = True
        self._process.kill()


class WorkerProcess:
    """A running worker process."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tmp: tempfile.TemporaryDirectory[str],
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._tmp = tmp
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._working: dict[int, asyncio.Event] = {}
        """By number, the calls that are on the device, also those that have ended before their work there."""
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self.ended_on_purpose = False
        """Set when we ended the process because of a call that would not stop, or because nobody needs it."""
        self._pump = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, spec: WorkerSpec) -> WorkerProcess:
        """Spawn the process and tell it what to load; returns before it has loaded."""
        try:
            worker = await cls._started(spec)
        except OSError as error:
            log.error("the process of %s could not be started: %s", spec.name, error)  # noqa: TRY400 - no bug of ours
            raise errors.Unavailable("the engine's process could not be started; try again") from error
        load = {
            "handler": spec.handler,
            "config": dict(spec.config),
            "threads": spec.slots + spec.short_slots,
            "log_level": spec.log_level,
        }
        worker.send(Frame("load", data=load))
        return worker

    @classmethod
    async def _started(cls, spec: WorkerSpec) -> WorkerProcess:
        with contextlib.ExitStack() as stack:
            # A folder of its own: what libraries leave there (phonemizer a copy of espeak) goes when the process does.
            tmp = tempfile.TemporaryDirectory(prefix="worker-", dir=spec.tmp, ignore_cleanup_errors=True)
            stack.callback(tmp.cleanup)
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            ours.setblocking(False)
            process = await cls._spawn(theirs, tmp.name)
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            stack.pop_all()
        return cls(process, reader, writer, tmp)

    @staticmethod
    async def _spawn(theirs: socket.socket, tmp: str) -> asyncio.subprocess.Process:
        with theirs:
            # -P: a folder called utils in the current directory must not shadow ours. Standard output is the
            # command's, and no library may write into `speak -o -`.
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "voice_stack.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_STDERR,
                pass_fds=(theirs.fileno(),),
                env=_environment(tmp),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def rss_bytes(self) -> int | None:
        """Resident memory, None where the system has no /proc."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def ready(self) -> dict[str, Any]:
        """Wait for the engine to be loaded and return the facts it reported; raise what the load raised."""
        return await asyncio.shield(self._ready)

    def send(self, frame: Frame) -> None:
        """Queue a frame; a worker that is gone is noticed by the reader, not here."""
        if not self._writer.is_closing():
            self._writer.write(pipe.encode(frame))

    def open_call(self, method: str, params: Mapping[str, Any], *, timeout: float) -> Call:
        """Start a call that must end within `timeout` seconds."""
        call = Call(self, next(self._numbers), time.monotonic() + timeout)
        if self.closed.is_set():
            call.deliver(errors.EngineCrashed("the engine's process ended before the request reached it"))
            return call
        self._calls[call.number] = call
        self.send(Frame("call", call=call.number, data={"method": method, "params": dict(params)}))
        return call

    def is_on_device(self, number: int) -> bool:
        """Return whether the call with this number works on the device."""
        return number in self._working

    async def off_device(self, number: int) -> None:
        """Wait until the call with this number does not work on the device, or the process has ended."""
        if (left := self._working.get(number)) is not None:
            await left.wait()

    def kill(self) -> None:
        """End the process group now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self, grace: float = 5.0) -> None:
        """Ask the process to end, and end it after `grace` seconds."""
        self.ended_on_purpose = True
        self.send(Frame("close"))
        try:
            async with asyncio.timeout(grace):
                await self.closed.wait()
        except TimeoutError:
            self.kill()
            await self.closed.wait()

    async def _read(self) -> None:
        try:
            while (frame := await pipe.read_frame(self._reader)) is not None:
                self._dispatch(frame)
        except pipe.BrokenFrame as error:
            log.error("worker %d wrote rubbish (%s); ending it", self.pid, error)  # noqa: TRY400 - no traceback needed
        finally:
            self.kill()
            await self._finish(await self._process.wait())

    def _dispatch(self, frame: Frame) -> None:
        if frame.kind == "ready":
            self._ready.set_result(frame.data)
        elif frame.kind == "load_failed":
            self._ready.set_exception(errors.restore(frame.data))
        elif frame.kind == "working":
            if frame.data:
                self._working.setdefault(frame.call, asyncio.Event())
            elif (left := self._working.pop(frame.call, None)) is not None:
                left.set()
        elif (call := self._calls.get(frame.call)) is not None:
            call.deliver(frame)
            if call.done.is_set():
                del self._calls[frame.call]

    async def _finish(self, status: int) -> None:
        culprit = self._culprit()
        self.closed.set()
        if not self._ready.done():
            self._ready.set_exception(errors.EngineCrashed("the engine's process ended while it loaded"))
        # Retrieved here so that nobody waiting does not become a warning at exit.
        self._ready.exception()
        for call in self._calls.values():
            cls = errors.CrashedByRequest if call.number == culprit else errors.EngineCrashed
            call.deliver(cls("the engine's process ended while it worked on the request; try again"))
        if self._calls:
            log.error("worker %d ended with status %d and %d calls in flight", self.pid, status, len(self._calls))
        self._calls.clear()
        for left in self._working.values():
            left.set()
        self._tmp.cleanup()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _culprit(self) -> int | None:
        """Return the number of the call that the crash was the fault of, None where more than one may be guilty."""
        # The calls are all that the process worked on, also for callers who have left and no longer wait for it.
        suspects = self._working.keys() or self._calls.keys()
        return next(iter(suspects)) if len(suspects) == 1 and not self.ended_on_purpose else None
