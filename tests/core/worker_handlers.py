"""Handlers that worker processes of the tests run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core import errors
from core.worker import Event, WorkerHandler


class Echo(WorkerHandler):
    """Does what the method says; counts its loads in a file, so that tests can see them."""

    def load(self) -> dict[str, Any]:
        if counter := self.config.get("counter"):
            with Path(counter).open("a", encoding="ascii") as file:
                file.write("x")
        if self.config.get("refuse"):
            raise errors.ConfigurationError("the weights are of the wrong kind")
        if self.config.get("die"):
            os._exit(3)
        return {"engine": "echo", "pid": os.getpid()}

    def call(self, method: str, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        return getattr(self, f"do_{method}")(params, body)

    def do_echo(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        yield Event("echo", params, body)

    def do_count(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        for number in range(params["to"]):
            yield Event("number", number)

    def do_forever(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        try:
            while True:
                yield Event("tick")
                threading.Event().wait(0.01)
        finally:
            Path(params["closed"]).write_text("closed", encoding="ascii")

    def do_hang(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        yield Event("started")
        threading.Event().wait()

    def do_kill(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        yield Event("started")
        os.kill(os.getpid(), signal.SIGKILL)

    def do_refuse(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        yield Event("started")
        raise errors.UnsupportedParameter("no such thing here", param="seed")

    def do_bug(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        yield Event("started")
        raise KeyError("secret detail")

    def do_rubbish(self, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        yield Event("started")
        for link in Path("/proc/self/fd").iterdir():
            if link.is_symlink() and str(link.readlink()).startswith("socket:"):
                os.write(int(link.name), b"\xff" * 64)
        threading.Event().wait()
