"""Shares the device of a worker process between its calls: works in batches, or turns of a call's own thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from core.fair_queue import ALONE, FairQueue, Line, Run, Shape
from core.worker import CallContext

W = TypeVar("W")
R = TypeVar("R")
log = logging.getLogger(__name__)


class Cancelled(CancelledError):
    """The request was closed before this work was done."""


@dataclass(slots=True, eq=False)
class _Work:
    """A work of a request; or the wish of a thread to use the device itself (`turn`), which the future grants.

    Whoever takes it out of its request's `open` resolves the future, and nobody else.
    """

    request: Request[Any, Any]
    content: Any = None
    turn: bool = False
    run: Run[_Work] | None = None
    future: Future[Any] = field(default_factory=Future)


class Request(Generic[W, R]):
    """What one call wants of the device; made by Scheduler.request. Leaving it as a context manager closes it."""

    def __init__(self, scheduler: Scheduler[W, R], line: Line[_Work], context: CallContext) -> None:
        self._scheduler = scheduler
        self.line = line
        self.context = context
        self.open: set[_Work] = set()
        self.closed = False
        context.on_cancel(self.close)

    def __enter__(self) -> Request[W, R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def submit(self, work: W, *, key: Hashable = None, length: int = 1, first: bool = False) -> Future[R]:
        """Have a work done; those with equal keys and much the same `length` may share a run, one with None does not.

        `first`: before all works of this request that were not submitted so.
        """
        return self._scheduler.submit(self, work, Shape(key, length), first=first)

    def turn(self) -> AbstractContextManager[None]:
        """Wait for a slot of the device and hold it in the block; raises Cancelled when the request is closed."""
        return self._scheduler.turn(self)

    def close(self) -> None:
        """Drop what waits, and have the results of what runs thrown away: all futures raise Cancelled now.

        A turn that is held is not over before its holder leaves it. Any thread may call this, any number of times.
        """
        self._scheduler.close_request(self)


class Scheduler(Generic[W, R]):
    """Runs the works of many requests on `slots` threads, in the order of core.fair_queue.

    `run` is given 1 to `batch` works with equal keys and returns one result for each, in order. When it raises, each of
    several works is tried again alone. Without `run` there are only turns. `spare`, `room`: see FairQueue.
    """

    def __init__(
        self,
        run: Callable[[Sequence[W]], Sequence[R]] | None = None,
        *,
        slots: int,
        batch: int = 1,
        spare: int = 0,
        room: int | None = None,
    ) -> None:
        self._run = run or _refuse
        self._queue: FairQueue[_Work] = FairQueue(slots=slots, batch=batch, spare=spare, room=room)
        # A generator that is collected in the middle of a change leaves its turn in the same thread: see _change.
        self._lock = threading.RLock()
        self._changing = False
        self._steps: deque[Callable[[], Iterable[_Work]]] = deque()
        self._closed = False
        self._ready: SimpleQueue[Run[_Work] | None] = SimpleQueue()
        count = slots + spare if run is not None else 0
        self._threads = [threading.Thread(target=self._serve, name=f"device-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Works and turns that wait."""
        return self._queue.waiting

    @property
    def running(self) -> int:
        """Works and turns that are on the device."""
        return self._queue.running

    def request(self, *, express: bool = False, context: CallContext | None = None) -> Request[W, R]:
        """Return a new request, closed when the call of `context` is cancelled; `express`: served before others."""
        return Request(self, Line(express=express), context or CallContext())

    def submit(self, request: Request[W, R], work: W, shape: Shape, *, first: bool) -> Future[R]:
        """See Request.submit."""
        if not self._threads:
            raise TypeError("nothing here does works; take a turn")
        wanted = _Work(request, work)
        self._change(partial(self._add, wanted, shape, first=first))
        return wanted.future

    @contextmanager
    def turn(self, request: Request[W, R]) -> Iterator[None]:
        """See Request.turn."""
        wish = _Work(request, turn=True)
        try:
            self._change(partial(self._add, wish))
            wish.future.result()
            with request.context.working():
                yield
        finally:
            self._change(partial(self._leave, wish))

    def close_request(self, request: Request[W, R]) -> None:
        """See Request.close."""
        self._change(partial(self._close_request, request))

    def close(self) -> None:
        """Drop what waits and wait until all runs have ended; not for turns that are held, nor inside of a run."""
        self._change(self._close)
        # Two threads of the device that close it in callbacks must not wait for each other.
        if threading.current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()

    def _change(self, step: Callable[[], Iterable[_Work]]) -> None:
        """Take a step in the lock, start what may go after it, and cancel the works that the step returned.

        When the step is made in the middle of another, by a generator that is being collected, it comes after that.
        """
        cancelled: list[_Work] = []
        with self._lock:
            self._steps.append(step)
            while self._steps and not self._changing:
                self._changing = True
                try:
                    while self._steps:
                        cancelled += self._steps.popleft()()
                    self._start()
                finally:
                    self._changing = False
        # Outside the lock: futures have callbacks.
        for work in cancelled:
            if work.future.running() or work.future.set_running_or_notify_cancel():
                _resolve(work, error=Cancelled("the request was closed"))

    def _start(self) -> None:
        while (run := self._queue.start()) is not None:
            work = run.items[0]
            if not work.turn:
                self._ready.put(run)
                continue
            work.run = run
            work.request.open.discard(work)
            work.future.set_result(None)

    # Steps.

    def _add(self, work: _Work, shape: Shape = ALONE, *, first: bool = False) -> Iterable[_Work]:
        if self._closed or work.request.closed:
            return (work,)
        work.request.open.add(work)
        self._queue.add(work.request.line, work, shape, first=first)
        return ()

    def _leave(self, wish: _Work) -> Iterable[_Work]:
        wish.request.open.discard(wish)
        self._queue.remove(wish.request.line, wish)
        if wish.run is not None:
            self._queue.end(wish.run)
        return ()

    def _begin(self, run: Run[_Work], works: list[_Work]) -> Iterable[_Work]:
        """Put the works of a run that are still wanted into `works`."""
        for work in run.items:
            if work in work.request.open:
                if work.future.set_running_or_notify_cancel():
                    works.append(work)
                else:
                    work.request.open.discard(work)
        return ()

    def _fill(self, run: Run[_Work]) -> Iterable[_Work]:
        self._queue.fill(run)
        return ()

    def _end(self, run: Run[_Work]) -> Iterable[_Work]:
        self._queue.end(run)
        return ()

    def _close_request(self, request: Request[W, R]) -> Iterable[_Work]:
        request.closed = True
        self._queue.drop(request.line)
        works = list(request.open)
        request.open.clear()
        return works

    def _close(self) -> Iterable[_Work]:
        if self._closed:
            return ()
        self._closed = True
        works = self._queue.drop_all()
        for work in works:
            work.request.open.discard(work)
        for _ in self._threads:
            self._ready.put(None)
        return works

    # Threads.

    def _serve(self) -> None:
        while (run := self._ready.get()) is not None:
            works: list[_Work] = []
            try:
                self._gather(run)
                self._change(partial(self._begin, run, works))
                self._do(works)
            finally:
                self._change(partial(self._end, run))
                # Not kept until the next ones come: they hold audio.
                del run, works

    def _gather(self, run: Run[_Work]) -> None:
        """Let other threads go first as long as they add to the run: those that got the results of the last one."""
        count = 0
        while count < len(run.items) and self._queue.may_grow(run):
            count = len(run.items)
            time.sleep(0)
            self._change(partial(self._fill, run))

    def _do(self, works: Sequence[_Work]) -> None:
        """Run works and resolve their futures."""
        if not works:
            return
        error = self._tried(works)
        if error is not None and len(works) == 1:
            self._deliver(works[0], error=error)
        elif error is not None:
            log.warning("a run of %d works failed; each is tried alone", len(works), exc_info=error)
            for work in works:
                # Those of requests that were closed meanwhile are left out.
                self._do([work] if work in work.request.open else [])

    def _tried(self, works: Sequence[_Work]) -> BaseException | None:
        """Run works and deliver their results; return what went wrong, whereupon nothing was delivered."""
        try:
            with ExitStack() as stack:
                for context in {work.request.context for work in works}:
                    stack.enter_context(context.working())
                results = list(self._run([work.content for work in works]))
            if len(results) != len(works):
                raise RuntimeError(f"the engine gave {len(results)} results for {len(works)} works")
        except BaseException as error:  # noqa: BLE001 - the thread lives on, and those who wait are told
            return error
        for work, result in zip(works, results, strict=True):
            self._deliver(work, result=result)
        return None

    def _deliver(self, work: _Work, *, result: Any = None, error: BaseException | None = None) -> None:
        with self._lock:
            if work not in work.request.open:
                return
            work.request.open.remove(work)
        _resolve(work, result=result, error=error)


def _resolve(work: _Work, *, result: Any = None, error: BaseException | None = None) -> None:
    try:
        if error is None:
            work.future.set_result(result)
        else:
            work.future.set_exception(error)
    except BaseException:
        # Not even SystemExit of one call may take the results of the others along.
        log.exception("a callback of a future failed")


def _refuse(_: Sequence[Any]) -> Sequence[Any]:
    raise TypeError("nothing here does works")
