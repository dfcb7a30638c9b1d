"""What runs inside a worker process: a handler that owns one engine and turns calls into events."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a call: a name, JSON data (plain values or dataclasses), and optional raw bytes."""

    name: str
    data: Any = None
    body: bytes = b""


class CallContext:
    """What a call knows of its surroundings: whether it was cancelled, and whom to tell that it is on the device.

    `report` is told True when the call begins to work on the device and False when it no longer does.
    """

    def __init__(self, report: Callable[[bool], None] = lambda _: None) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._reporting = threading.Lock()
        self._callbacks: list[Callable[[], None]] | None = []
        self._working = 0

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the call any more."""
        return self._callbacks is None

    def cancel(self) -> None:
        """Call everything that waits for it, in this thread; once only."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have this called by the thread that cancels; at once where that has happened. It must not block."""
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Tell that the call is on the device, so that a crash in here is known to be its own; may be nested."""
        here = _served_here()
        self._count(1)
        here.append(self)
        try:
            yield
        finally:
            here.remove(self)
            self._count(-1)

    def _count(self, step: int) -> None:
        # Held while it is reported: two threads must not tell of an end and a beginning in the wrong order.
        with self._reporting:
            self._working += step
            if self._working == max(step, 0):
                self._report(step > 0)


_thread = threading.local()


def _served_here() -> list[CallContext]:
    """Return the calls that this thread is at work for."""
    if not hasattr(_thread, "contexts"):
        _thread.contexts = []
    found: list[CallContext] = _thread.contexts
    return found


def abandoned() -> bool:
    """Return whether nobody waits any more for what this thread does: whoever waits for another machine may leave."""
    contexts = _served_here()
    return bool(contexts) and all(context.cancelled for context in contexts)


class WorkerHandler(ABC):
    """Base of `asr.worker.AsrWorker` and `tts.worker.TtsWorker`; made from the JSON config of its WorkerSpec.

    `call` runs in a thread of the worker, in as many at once as the spec admits calls. Closing the iterator it returns
    cancels the call. It raises errors of core.errors; anything else is reported as InternalError with its traceback
    logged, except `core.scheduler.Cancelled` of a call that was cancelled.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> dict[str, Any]:
        """Load the engine and prove that it works; return JSON facts about it for the API process."""

    @abstractmethod
    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        """Do one call and yield its events; `context` is what a request of `core.scheduler.Scheduler` wants."""

    def close(self) -> None:  # noqa: B027 - optional
        """Free the engine; the process ends after it."""
