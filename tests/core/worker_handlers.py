"""Handlers that worker processes of the tests run."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core import errors
from core.scheduler import Scheduler
from core.worker import CallContext, Event, WorkerHandler


class Echo(WorkerHandler):
    """Does what the method says; counts its loads in a file, so that tests can see them."""

    def load(self) -> dict[str, Any]:
        if counter := self.config.get("counter"):
            with Path(counter).open("a", encoding="ascii") as file:
                file.write("x")
        if self.config.get("slow"):
            threading.Event().wait()
        if self.config.get("refuse"):
            raise errors.ConfigurationError("the weights are of the wrong kind")
        if self.config.get("needs"):
            importlib.import_module(self.config["needs"])
        if self.config.get("die"):
            os._exit(3)
        return {"engine": "echo", "pid": os.getpid()}

    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        events: Iterator[Event] = getattr(self, f"do_{method}")(params)
        return events

    def do_echo(self, params: Mapping[str, Any]) -> Iterator[Event]:
        yield Event("echo", params, b"\0raw")

    def do_count(self, params: Mapping[str, Any]) -> Iterator[Event]:
        for number in range(params["to"]):
            yield Event("number", number)

    def do_forever(self, params: Mapping[str, Any]) -> Iterator[Event]:
        try:
            while True:
                yield Event("tick")
                threading.Event().wait(0.01)
        finally:
            Path(params["closed"]).write_text("closed", encoding="ascii")

    def do_hang(self, params: Mapping[str, Any]) -> Iterator[Event]:
        yield Event("started")
        threading.Event().wait()

    def do_kill(self, params: Mapping[str, Any]) -> Iterator[Event]:
        yield Event("started")
        os.kill(os.getpid(), signal.SIGKILL)

    def do_refuse(self, params: Mapping[str, Any]) -> Iterator[Event]:
        yield Event("started")
        raise errors.UnsupportedParameter("no such thing here", param="seed")

    def do_bug(self, params: Mapping[str, Any]) -> Iterator[Event]:
        yield Event("started")
        raise KeyError("secret detail")

    def do_rubbish(self, params: Mapping[str, Any]) -> Iterator[Event]:
        yield Event("started")
        for link in Path("/proc/self/fd").iterdir():
            if link.is_symlink() and str(link.readlink()).startswith("socket:"):
                os.write(int(link.name), b"\xff" * 64)
        threading.Event().wait()


class Sharing(WorkerHandler):
    """Its calls share a device, which each has by a `turn` or a `work`; `go` lets one go on that has it."""

    def load(self) -> dict[str, Any]:
        self.go = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.running = 0
        self.scheduler: Scheduler[str, str] = Scheduler(self.run, slots=self.config["slots"])
        return {}

    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        if method == "go":
            self.go.release()
        elif method == "counts":
            yield Event("counts", {"waiting": self.scheduler.waiting, "running": self.running})
        elif method == "exit":
            raise SystemExit(3)
        else:
            with self.scheduler.request(context=context) as request:
                if method == "turn":
                    with request.turn():
                        yield Event("done", self.run([params["then"]]))
                else:
                    yield Event("done", request.submit(params["then"]).result())

    def run(self, works: Sequence[str]) -> Sequence[str]:
        with self.lock:
            self.running += 1
        self.go.acquire()
        with self.lock:
            self.running -= 1
        if works == ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return works

    def close(self) -> None:
        self.go.release()
        self.scheduler.close()
        Path(self.config["closed"]).touch()
