"""The ASR service with its jobs: what the API process runs, and the command line's private worker does not."""

from __future__ import annotations

import asyncio
from typing import Any

from asr.jobs.callbacks import Callbacks
from asr.jobs.files import JobFiles
from asr.jobs.job import Job, NewJob, Status
from asr.jobs.runner import JobRunner
from asr.jobs.store import JobStore
from asr.service import AsrService
from asr.settings import AsrSettings
from utils.forms import UploadedFile


class Jobs:
    """Submitting, finding and ending jobs."""

    def __init__(self, service: AsrService) -> None:
        root = service.settings.places.state / "jobs"
        self.draining = False
        """Set when the service begins to shut down: whoever follows a job must come back after the next start."""
        self._adding: set[asyncio.Task[Job]] = set()
        self._max_open = service.settings.job_max_open
        self._store = JobStore(root / "jobs.db")
        self._files = JobFiles(root)
        self.callbacks = Callbacks(service.settings.job_callback_hosts)
        self.runner = JobRunner(service, self._store, self._files, self.callbacks)

    async def submit(self, new: NewJob, upload: UploadedFile) -> Job:
        """Take a job with its upload, or return the one of the same idempotency key; it survives from here on.

        Raises IdempotencyConflict, QueueFull, InsufficientStorage, Unavailable.
        """
        # Both steps or none: a client that leaves between them leaves no half a job.
        task = asyncio.create_task(self._add(new, upload))
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)
        job = await asyncio.shield(task)
        self.runner.wake()
        return job

    async def _add(self, new: NewJob, upload: UploadedFile) -> Job:
        await self._files.run(self._files.keep, new.id, upload.path)
        try:
            job, added = await self._store.run(self._store.add, new, max_open=self._max_open)
        except Exception:
            await self._files.run(self._files.remove, new.id)
            raise
        if not added:
            await self._files.run(self._files.remove, new.id)
        return job

    async def get(self, job_id: str, *, owner: str) -> Job:
        """Return an owner's job; NotFound for any other."""
        return self.runner.seen(await self._store.run(self._store.get, job_id, owner=owner))

    async def page(self, owner: str, *, limit: int, after: str | None, status: Status | None) -> list[Job]:
        """Return an owner's jobs, the newest first; InvalidRequest when there is none with the id `after`."""
        return await self._store.run(self._store.page, owner, limit=limit, after=after, status=status)

    async def result(self, job_id: str, *, owner: str) -> tuple[Job, list[str]]:
        """Return an owner's job and what is transcribed of it, for `to_segments`; NotFound for any other."""
        return await self._store.run(self._store.result, job_id, owner=owner)

    async def cancel(self, job_id: str, *, owner: str) -> Job:
        """Cancel an owner's job and return it; one that has ended stays as it is."""
        job = await self.get(job_id, owner=owner)
        if job.is_open:
            job = await self._store.run(self._store.cancel, job_id)
            await self.runner.stop(job_id)
            self.runner.wake()
        return job


class JobService(AsrService):
    """The ASR service that also does jobs."""

    def __init__(self, settings: AsrSettings) -> None:
        super().__init__(settings)
        self.jobs = Jobs(self)

    async def start(self) -> None:
        """Begin to load the default model, and to do the jobs that are left from before."""
        await super().start()
        self.jobs.runner.start()

    def drain(self) -> None:
        """Begin to shut down; a chunk that is being worked on is finished."""
        super().drain()
        self.jobs.draining = True

    def capabilities(self) -> dict[str, Any]:
        """Return what this service can do, jobs included."""
        common, settings = super().capabilities(), self.settings
        limits = {"job_ttl_seconds": settings.job_ttl_seconds, "unfinished_jobs": settings.job_max_open}
        features = {"job_callbacks": bool(settings.job_callback_hosts)}
        return {
            **common,
            "limits": {**common["limits"], **limits},
            "features": {**common.get("features", {}), **features},
        }

    async def close(self) -> None:
        """Stop the work on jobs, which goes on after the next start, and everything else."""
        await self.jobs.runner.close()
        await super().close()
