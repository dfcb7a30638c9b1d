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
        self._closed = False
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

    @property
    def needs(self) -> int:
        """The bytes that all of them had when they were last loaded, as far as is known."""
        return max(replica.needs for replica in self.all) * len(self.all)

    def reconfigure(self, spec: WorkerSpec) -> None:
        """Run this from the next load on; it has the same devices."""
        self._spec = spec
        for replica in self.all:
            replica.needs = 0
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
            self._loading = self._background.spawn(self._first(self._begin_loads()))
        return self._loading

    def unload(self) -> asyncio.Task[None]:
        """Have no process from now on; the task is done when those there were have ended.

        Who waits for a load that this ends gets Conflict.
        """
        self._loading = None
        return self._background.spawn(_ended([replica.unload() for replica in self.all]))

    def close(self) -> None:
        """Begin to end the processes, for good."""
        self._closed = True
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
        """Have one process at most on the CPU, which an engine's library may turn out to use, and none beside a GPU."""
        on_cpu = [each for each in self.ready if each.facts.get("device") == "cpu"]
        if not on_cpu or len(self.all) == 1:
            return
        others = [each for each in self.all if each not in on_cpu and each.state in {"ready", "loading"}]
        if others:
            self._let_go(on_cpu)
        elif len(on_cpu) == len(self.all):
            self._let_go([each for each in on_cpu if each is not replica])

    def _let_go(self, replicas: list[Replica]) -> None:
        self.all = [each for each in self.all if each not in replicas]
        for each in replicas:
            log.warning("%s would run on the CPU and is not needed: %d process(es) are left", each.name, len(self.all))
            each.close()

    async def _first(self, loads: list[asyncio.Task[Any]]) -> None:
        """Return when the first of the loads has succeeded; raise what the first one raised when all have failed.

        A load that was cancelled is that of a process nobody is to use any more.
        """
        failures: list[errors.VoiceStackError] = []
        waiting = set(loads)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for load in done:
                if load.cancelled():
                    continue
                error = load.exception()
                if error is None:
                    return
                if not isinstance(error, errors.VoiceStackError):
                    raise error
                failures.append(error)
        if failures:
            raise failures[0]
        if self._closed:
            raise errors.Draining("the service is shutting down")
        raise errors.Conflict(f"the model {self._spec.name} was unloaded while it was loading")


def _on_device(spec: WorkerSpec, index: int) -> WorkerSpec:
    return replace(spec, devices=(index,), config={**spec.config, "device_index": index})


async def _ended(unloads: list[asyncio.Task[None]]) -> None:
    # Not gather, which would cancel what ends them together with the one who waits for it.
    await asyncio.wait(unloads)
