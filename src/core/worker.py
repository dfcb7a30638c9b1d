"""What runs inside a worker process: a handler that owns one engine and turns calls into events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a call: a name, JSON data (plain values or dataclasses), and optional raw bytes."""

    name: str
    data: Any = None
    body: bytes = b""


class WorkerHandler(ABC):
    """Base of `asr.worker.AsrWorker` and `tts.worker.TtsWorker`; made from the JSON config of its WorkerSpec.

    `call` runs in a thread of the worker, in at most `slots` threads at once. Closing the iterator it returns cancels
    the call. It raises errors of core.errors; anything else is reported as InternalError with its traceback logged.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> dict[str, Any]:
        """Load the engine and prove that it works; return JSON facts about it for the API process."""

    @abstractmethod
    def call(self, method: str, params: Mapping[str, Any], body: bytes) -> Iterator[Event]:
        """Do one call and yield its events."""

    def close(self) -> None:  # noqa: B027 - optional
        """Free the engine; the process ends after it."""
