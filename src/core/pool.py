"""The workers of a service: who stays loaded when there is room for so many models only."""

from __future__ import annotations

import asyncio
import time

from core import errors
from core.process import WorkerSpec
from core.replica import WorkerStatus
from core.workers import Worker


class WorkerPool:
    """The workers of a service: at most `slots` models loaded, the least recently used idle one makes room."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._workers: dict[str, Worker] = {}
        self._room = asyncio.Lock()

    def worker(self, spec: WorkerSpec) -> Worker:
        """Return the worker of this spec, making it (not loading it) when there is none."""
        worker = self._workers.setdefault(spec.name, Worker(spec, has_room=self._has_room, make_room=self._make_room))
        if worker.spec != spec and worker.state not in {"ready", "loading"} and not worker.busy:
            # The model was pulled, or pulled again, since the worker was made.
            worker.reconfigure(spec)
        return worker

    def status(self) -> list[WorkerStatus]:
        """Return a snapshot of every process of every worker."""
        return [status for worker in self._workers.values() for status in worker.status()]

    async def load(self, spec: WorkerSpec) -> Worker:
        """Make room for the model and load it."""
        worker = self.worker(spec)
        await self._make_room(worker)
        await worker.load()
        return worker

    def drain(self) -> None:
        """Take no more calls and turn away those that wait."""
        for worker in self._workers.values():
            worker.drain()

    async def close(self) -> None:
        """End all workers."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))

    async def _make_room(self, wanted: Worker) -> None:
        deadline = time.monotonic() + wanted.spec.load_timeout
        if wanted.state in {"ready", "loading"}:
            return
        async with self._room:
            while wanted.state not in {"ready", "loading"}:
                if self._has_room(wanted):
                    wanted.begin_load()
                    return
                idle = [w for w in self._loaded(but=wanted) if w.state == "ready" and not w.busy]
                if idle:
                    await min(idle, key=lambda w: w.last_used).unload()
                elif time.monotonic() > deadline:
                    raise errors.ModelLoading(f"no room to load {wanted.spec.name}: all loaded models are busy")
                else:
                    await asyncio.sleep(0.05)

    def _has_room(self, wanted: Worker) -> bool:
        return len(self._loaded(but=wanted)) < self._slots

    def _loaded(self, *, but: Worker) -> list[Worker]:
        """Return the other workers that are loaded, or will be in a moment because calls wait for them."""
        others = [worker for worker in self._workers.values() if worker is not but]
        return [worker for worker in others if worker.state in {"ready", "loading"} or worker.busy]
