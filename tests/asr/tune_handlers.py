"""A handler that worker processes of the tests of tuning run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import NotSupported
from core.worker import CallContext, Event, WorkerHandler


class Unmeasured(WorkerHandler):
    """An engine that has no `measure`."""

    def load(self) -> dict[str, Any]:
        return {"device": "cpu"}

    def call(self, method: str, params: Mapping[str, Any], *, context: CallContext | None = None) -> Iterator[Event]:
        raise NotSupported(f"there is no {method}")
