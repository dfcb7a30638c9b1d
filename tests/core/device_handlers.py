"""Handlers that worker processes of the tests with several devices run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asr.worker import AsrWorker
from core import devices, errors
from core.worker import CallContext, Event, WorkerHandler


class FakeGpus(AsrWorker):
    """The ASR worker on a machine where the fake engine's runtime, which is none, can use two GPUs."""

    def load(self) -> dict[str, Any]:
        devices._RUNTIMES = {**devices._RUNTIMES, "none": lambda: {"cuda": 2}}
        return super().load() | {"pid": os.getpid()}


class Device(WorkerHandler):
    """Says which device it is on.

    `down` maps a device to a file: while the file is there, loading there fails. `wrong` lists devices on which the
    configuration is wrong, `reports` maps a device to the kind it claims to be, `waits` one to a file without which
    loading there does not end.
    """

    def load(self) -> dict[str, Any]:
        index = self.config["device_index"]
        down = self.config.get("down", {}).get(str(index))
        if down and Path(down).exists():
            with Path(down).open("a", encoding="ascii") as file:
                file.write("x")
            raise errors.DeviceOutOfMemory("the device is full")
        if index in self.config.get("wrong", ()):
            raise errors.ConfigurationError(f"there is no device {index}")
        if waits := self.config.get("waits", {}).get(str(index)):
            while not Path(waits).exists():
                threading.Event().wait(0.01)
        return {"device": self.config.get("reports", {}).get(str(index), "cuda"), "index": index}

    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        yield Event("device", self.config["device_index"])
        if method == "hold":
            Path(params["held"]).touch()
            while not Path(params["until"]).exists():
                yield Event("tick")
                threading.Event().wait(0.01)
