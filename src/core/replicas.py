"""The processes of one model, one on each device: loaded and unloaded together, and each down for itself alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from core import errors
from core.background import Background
from core.process import WorkerSpec
from core.replica import Replica, State

log = logging.getLogger(__name__)


class Replicas:
    """A replica for each device of a spec; where one answers, those that failed to load are tried again.

    `may_return` is asked before a process that died comes back; `changed` is called with a replica that has become
    ready, has failed to load, or has died.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        background: Background,
        may_return: Callable[[], bool],
        changed: Callable[[Replica], None],
    ) -> None:
        self._spec = spec
        self._background = background
        self._changed = changed
        self._loading: asyncio.Task[None] | None = None
        self.all = [
            Replica(
                _on_device(spec, index),
                name=f"{spec.name}@{index}" if len(spec.devices) > 1 else spec.name,
                background=background,
                may_return=may_return,
                changed=self._notice,
            )
            for index in spec.devices
        ]

    @property
    def ready(self) -> list[Replica]:
        """Those whose process answers."""
        return [replica for replica in self.all if replica.process is not None]

    @property
    def state(self) -> State:
        """Return the best of their states: ready, loading, failed or unloaded."""
        states = {replica.state for replica in self.all}
        best: tuple[State, ...] = ("ready", "loading", "failed")
        return next((state for state in best if state in states), "unloaded")

    def reconfigure(self, spec: WorkerSpec) -> None:
        """Run this from the next load on; it has the same devices."""
        self._spec = spec
        for replica in self.all:
            replica.spec = _on_device(spec, replica.spec.devices[0])

    async def load(self) -> Replica:
        """Return the replica with the fewest calls, starting all when none is ready; see Worker.load."""
        if not self.ready:
            try:
                async with asyncio.timeout(self._spec.load_timeout):
                    while not self.ready:
                        await asyncio.shield(self.begin_load())
            except TimeoutError:
                raise errors.ModelLoading(f"the model {self._spec.name} is still loading; try again soon") from None
        return min(self.ready, key=lambda replica: replica.calls)

    def begin_load(self) -> asyncio.Task[None]:
        """Start to load on every device, unless that is under way; the task is done when one process answers.

        Raises Unavailable while processes that keep dying are left alone, Draining after `close`.
        """
        if self._loading is None or self._loading.done():
            self._loading = self._background.spawn(_first(self._begin_loads()))
        return self._loading

    async def unload(self) -> None:
        """End the processes."""
        # Not gather, which would cancel what ends them together with the one who waits for it.
        await asyncio.wait([replica.unload() for replica in self.all])

    def close(self) -> None:
        """Begin to end the processes, for good."""
        for replica in self.all:
            replica.close()

    def _begin_loads(self) -> list[asyncio.Task[Any]]:
        loads: list[asyncio.Task[Any]] = []
        refusals: list[errors.VoiceStackError] = []
        for replica in self.all:
            try:
                loads.append(replica.begin_load())
            except errors.VoiceStackError as error:
                refusals.append(error)
        if not loads:
            raise refusals[0]
        return loads

    def _notice(self, replica: Replica) -> None:
        if replica.process is not None:
            self._check_device(replica)
        if self.ready:
            for each in self.all:
                each.retry()
        self._changed(replica)

    def _check_device(self, replica: Replica) -> None:
        """Let go of the others where the engine's library turned out to use the CPU, of which there is one."""
        if len(self.all) > 1 and replica.facts.get("device") == "cpu":
            log.warning("%s runs on the CPU: one process instead of %d", self._spec.name, len(self.all))
            for each in self.all:
                if each is not replica:
                    each.close()
            self.all = [replica]


def _on_device(spec: WorkerSpec, index: int) -> WorkerSpec:
    return replace(spec, devices=(index,), config={**spec.config, "device_index": index})


async def _first(loads: list[asyncio.Task[Any]]) -> None:
    """Return when the first of the loads has succeeded; raise what the first one raised when all have failed."""
    failures: list[errors.VoiceStackError] = []
    for load in asyncio.as_completed(loads):
        try:
            await load
        except errors.VoiceStackError as error:
            failures.append(error)
        else:
            return
    raise failures[0]
