"""The workers of a service: who stays loaded when there is room for so many models, or so much memory, only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from core import errors
from core import memory as memory_limit
from core.process import WorkerSpec
from core.replica import WorkerStatus
from core.workers import Worker


class WorkerPool:
    """The workers of a service: at most `slots` models loaded, the least recently used idle ones make room.

    With a `memory` (bytes) their processes take no more than that together, as far as can be told before and after a
    load: a model that is not loaded counts with the memory it had last, and before that with the size of its weights
    and what the processes of others take beside theirs, which are their libraries. One that takes more than that alone
    is not kept. `stays` is asked, by name, which models come back when they have died and nobody waits for them.
    """

    def __init__(self, slots: int, *, memory: int = 0, stays: Callable[[str], bool] = lambda _: True) -> None:
        self._slots = slots
        self._memory = memory
        self._stays = stays
        self._taken: dict[str, int] = {}
        """By name, the bytes that the processes of a worker had when it was last looked at."""
        self._workers: dict[str, Worker] = {}
        self._room = asyncio.Lock()
        """Held by who takes room or makes it, so that nobody else takes what an unloading model is about to leave."""
        self._seeking: list[Worker] = []
        """Those that somebody wants to load and that may have to wait for room, once for each who wants it."""
        self._kept_out: set[str] = set()
        """The names of those that nobody may load."""

    def worker(self, spec: WorkerSpec) -> Worker:
        """Return the worker of this spec, making it (not loading it) when there is none."""
        spec = replace(spec, memory=self._memory // len(spec.devices))
        worker = self._workers.get(spec.name)
        if worker is None:
            worker = Worker(
                spec, may_return=self._may_return, make_room=self._make_room, look_again=self._unload_surplus
            )
            self._workers[spec.name] = worker
        if worker.spec != spec and worker.state not in {"ready", "loading"} and not worker.busy:
            # The model was pulled, or pulled again, since the worker was made.
            worker.reconfigure(spec)
        return worker

    def status(self) -> list[WorkerStatus]:
        """Return a snapshot of every process of every worker."""
        return [status for worker in self._workers.values() for status in worker.status()]

    def by_model(self) -> list[tuple[str, WorkerStatus]]:
        """Return the same, each with the name of its worker."""
        return [(name, status) for name, worker in self._workers.items() for status in worker.status()]

    async def load(self, spec: WorkerSpec) -> Worker:
        """Make room for the model and load it. Raises Conflict while it is kept out."""
        if spec.name in self._kept_out:
            raise errors.Conflict(f"the model {spec.name} is being deleted", param="model")
        worker = self.worker(spec)
        await self._make_room(worker)
        await worker.load()
        return worker

    def has_room(self, spec: WorkerSpec) -> bool:
        """Return whether a model is loaded, or can be without another one having to go."""
        worker = self.worker(spec)
        return worker.state in {"ready", "loading"} or self._has_room(worker)

    async def unload(self, name: str) -> None:
        """Unload a model, or give up loading it, whatever still runs that nobody waits for.

        Raises NotFound when it is not loaded, Conflict while calls use it or wait for it.
        """
        worker = self._workers.get(name)
        if worker is not None and worker.wanted:
            raise errors.Conflict(f"the model {name} is in use", param="model")
        if worker is None or worker.state == "unloaded":
            raise errors.NotFound(f"the model {name} is not loaded", param="model")
        await worker.unload()

    @asynccontextmanager
    async def kept_out(self, name: str) -> AsyncIterator[None]:
        """Keep a model unloaded: who wants it gets Unavailable. Raises Conflict where it is loaded, or is wanted."""
        worker = self._workers.get(name)
        if worker is not None and (worker.busy or worker in self._seeking or worker.state in {"ready", "loading"}):
            raise errors.Conflict(f"the model {name} is in use", param="model")
        if name in self._kept_out:
            raise errors.Conflict(f"the model {name} is being deleted", param="model")
        self._kept_out.add(name)
        try:
            if worker is not None:
                # It may have failed, and be about to try again.
                await worker.unload()
            yield
        finally:
            self._kept_out.remove(name)

    def drain(self) -> None:
        """Take no more calls and turn away those that wait."""
        for worker in self._workers.values():
            worker.drain()

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))

    async def _make_room(self, wanted: Worker) -> None:
        if wanted.spec.name in self._kept_out:
            raise errors.Unavailable(f"the model {wanted.spec.name} is being deleted")
        if wanted.state in {"ready", "loading"}:
            return
        self._check_size(wanted)
        self._seeking.append(wanted)
        try:
            await self._take_room(wanted)
        finally:
            self._seeking.remove(wanted)

    async def _take_room(self, wanted: Worker) -> None:
        """Wait for room and begin to load, or until somebody else has."""
        deadline = time.monotonic() + wanted.spec.load_timeout
        while True:
            async with self._room:
                while wanted.state not in {"ready", "loading"}:
                    if self._has_room(wanted):
                        wanted.begin_load()
                        return
                    if (idle := self._dispensable(wanted)) is None:
                        break
                    await idle.unload()
                else:
                    return
            if time.monotonic() > deadline:
                raise errors.ModelLoading(f"no room to load {wanted.spec.name}: all loaded models are busy")
            await asyncio.sleep(0.05)

    async def _unload_surplus(self, loaded: Worker) -> None:
        """Unload idle models where one that was loaded took more memory than could be told."""
        if not self._memory:
            return
        async with self._room:
            while not self._has_room(loaded) and (idle := self._dispensable(loaded)):
                await idle.unload()

    def _may_return(self, died: Worker) -> bool:
        """Return whether a process that died comes back: there is room, and it is needed now or always."""
        needed = died.busy or died.state == "ready" or self._stays(died.spec.name)
        return needed and self._has_room(died)

    def _dispensable(self, wanted: Worker) -> Worker | None:
        """Return the idle model to go next for this one; None where it would go in vain."""
        others = self._loaded(but=wanted)
        # A call that was left may go on for minutes: nobody waits for it, others do for its room.
        idle = [worker for worker in others if worker.state == "ready" and not worker.wanted]
        if not idle or not self._fits(wanted, [worker for worker in others if worker not in idle]):
            return None
        # One without a slot is small, and gives none back.
        return min(idle, key=lambda worker: (not worker.spec.takes_slot, worker.last_used))

    def _has_room(self, wanted: Worker) -> bool:
        return self._fits(wanted, self._loaded(but=wanted))

    def _fits(self, wanted: Worker, others: list[Worker]) -> bool:
        if wanted.spec.takes_slot and sum(worker.spec.takes_slot for worker in others) >= self._slots:
            return False
        # Alone it may try: what nobody could tell before a load is checked after it.
        return not (self._memory and others) or sum(map(self._bytes, [*others, wanted])) <= self._memory

    def _check_size(self, wanted: Worker) -> None:
        """Raise InsufficientMemory for a model that would not fit even alone."""
        needs = max(wanted.spec.size * wanted.processes, wanted.needs)
        memory_limit.check(wanted.spec.name, needs, self._memory)

    def _bytes(self, worker: Worker) -> int:
        """Return the bytes that the processes of a worker have, or will have as far as can be told."""
        name = worker.spec.name
        if worker.state == "ready" and (held := sum(status.rss_bytes or 0 for status in worker.status())):
            self._taken[name] = held
        return self._taken.get(name) or (worker.spec.size + self._beside()) * worker.processes

    def _beside(self) -> int:
        """Return the least that a process took beside its weights; 0 before the first one has been looked at."""
        found = [self._taken[name] // each.processes - each.spec.size for name, each in self._sized()]
        return max(min(found, default=0), 0)

    def _sized(self) -> list[tuple[str, Worker]]:
        return [(name, each) for name, each in self._workers.items() if each.spec.size and name in self._taken]

    def _loaded(self, *, but: Worker) -> list[Worker]:
        """Return the other workers that are loaded, or will be in a moment because calls wait for them."""
        others = [worker for worker in self._workers.values() if worker is not but]
        return [worker for worker in others if worker.state in {"ready", "loading"} or worker.busy]
