"""The main loop of a worker process: reads calls from the socket, runs them in threads, writes events back."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import Any

from core import errors, logs, pipe
from core.pipe import Frame
from core.worker import CallContext, Event, WorkerHandler

log = logging.getLogger(__name__)
LAST_SECONDS = 5.0
"""Seconds between the end of the pipe and the end of the process, whatever still runs."""


class _Main:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")
        self._write_lock = threading.Lock()
        self._calls: dict[int, CallContext] = {}
        self._broken_off: set[int] = set()
        """Numbers of the calls that end because the process does, not because nobody waits for them."""

    def send(self, frame: Frame) -> None:
        data = pipe.encode(frame)
        with self._write_lock:
            self._sock.sendall(data)

    def run(self) -> None:
        first = pipe.read_frame_blocking(self._file)
        if first is None or first.kind != "load":
            return
        handler = self._load(first.data)
        if handler is None:
            return
        pool = ThreadPoolExecutor(max_workers=int(first.data["threads"]), thread_name_prefix="call")
        while (frame := pipe.read_frame_blocking(self._file)) is not None:
            if frame.kind == "call":
                self._calls[frame.call] = CallContext(partial(self._report_working, frame.call))
                pool.submit(self._call, handler, frame)
            elif frame.kind == "cancel" and (context := self._calls.get(frame.call)):
                context.cancel()
            elif frame.kind == "close":
                break
        # An engine that cannot be stopped must not keep a worker nobody talks to any more, nor its GPU.
        last_resort = threading.Timer(LAST_SECONDS, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()
        running = list(self._calls.items())
        self._broken_off.update(number for number, context in running if not context.cancelled)
        for _, context in running:
            context.cancel()
        pool.shutdown(wait=True, cancel_futures=True)
        handler.close()

    def _load(self, data: dict[str, Any]) -> WorkerHandler | None:
        logs.setup(data["log_level"])
        module, _, name = str(data["handler"]).partition(":")
        try:
            handler: WorkerHandler = getattr(importlib.import_module(module), name)(data["config"])
            facts = handler.load()
        except Exception as error:  # noqa: BLE001 - the last handler of a load: whatever it was is reported
            self.send(Frame("load_failed", data=_report(error, "load")))
            return None
        self.send(Frame("ready", data=facts))
        return handler

    def _call(self, handler: WorkerHandler, frame: Frame) -> None:
        context = self._calls[frame.call]
        try:
            events = handler.call(frame.data["method"], frame.data["params"], context=context)
            whole = self._forward(events, frame.call, context)
            last = Frame("end", call=frame.call) if whole else self._stopped(frame.call)
        except BaseException as error:  # noqa: BLE001 - the last handler of a call: whatever it was is reported
            if context.cancelled and isinstance(error, CancelledError):
                last = self._stopped(frame.call)
            else:
                last = Frame("error", call=frame.call, data=_report(error, str(frame.data["method"])))
        finally:
            del self._calls[frame.call]
        self._send_last(last)

    def _stopped(self, call: int) -> Frame:
        """Return the last frame of a call that was stopped in the middle."""
        if call not in self._broken_off:
            return Frame("end", call=call)
        error = errors.EngineCrashed("the engine's process was ended while it worked on the request; try again")
        return Frame("error", call=call, data=errors.dump(error))

    def _forward(self, events: Iterator[Event], call: int, context: CallContext) -> bool:
        """Send the events; False when the call was stopped before the last of them."""
        try:
            for event in events:
                if context.cancelled:
                    return False
                self.send(Frame("event", call=call, data={"name": event.name, "data": event.data}, body=event.body))
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()
        return True

    def _report_working(self, call: int, working: bool) -> None:
        """Tell the API process before the work begins, which may be the end of this process."""
        self._send_last(Frame("working", call=call, data=working))

    def _send_last(self, frame: Frame) -> None:
        try:
            self.send(frame)
        except OSError:
            log.debug("the API process is gone; nobody to tell %r of call %d", frame.kind, frame.call)


def _report(error: BaseException, what: str) -> dict[str, Any]:
    """Return an error as data; one that is not ours is logged with its traceback and loses its message."""
    if isinstance(error, errors.VoiceStackError):
        return errors.dump(error)
    if isinstance(error, MemoryError):
        return errors.dump(errors.InsufficientMemory("the device had no memory left for this request"))
    log.error("%s failed in the worker", what, exc_info=error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return errors.dump(errors.NotSupported(f"the engine needs {error.name}, which is not installed"))
    return errors.dump(errors.InternalError("the engine failed; the log says why"))


def main(descriptor: int) -> None:
    """Serve the socket with this file descriptor until it closes, then end the process at once."""
    # Ctrl-C goes to the whole terminal group; when a worker ends is the supervisor's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 0
    try:
        _Main(socket.socket(fileno=descriptor)).run()
    except BaseException:
        log.exception("worker failed")
        status = 1
    finally:
        logging.shutdown()
        # Destructors of native libraries may hang (CTranslate2#2038); nothing of ours is left to flush.
        os._exit(status)
