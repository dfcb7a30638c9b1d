"""Who works on the jobs: takes them up when they are due, tries again what may go well later, tidies up behind them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asr.jobs.callbacks import Callbacks
from asr.jobs.courier import Courier
from asr.jobs.files import JobFiles
from asr.jobs.job import Job
from asr.jobs.store import JobStore
from asr.jobs.work import JobWork
from core import errors

if TYPE_CHECKING:
    from asr.service import AsrService

log = logging.getLogger(__name__)
POLL_SECONDS = 2.0
"""How often it looks for jobs of another process, and whether that one has given up the work."""
TIDY_SECONDS = 60.0
PATIENCE = 20
"""How often in a row a job may be put off without getting on, before it fails."""
MAX_DELAY = 60.0


class JobRunner:
    """Does one job per model at a time, chunk by chunk, so that other requests come in between.

    Of several processes with one folder only the one that holds its lock works; the others wait for it to end.
    """

    def __init__(self, service: AsrService, store: JobStore, files: JobFiles, callbacks: Callbacks) -> None:
        self._settings = service.settings
        self._store = store
        self._files = files
        self._callbacks = callbacks
        self._courier = Courier(store, files, callbacks, ttl=service.settings.job_ttl_seconds)
        self._work = JobWork(service, store, files)
        # One place stays free for models that are asked for meanwhile.
        self._limit = max(1, service.settings.model_slots - 1)
        self._running: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._tidied = -TIDY_SECONDS

    def start(self) -> None:
        """Begin to look for jobs."""
        self._main = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look now: there is a new job."""
        self._news.set()

    def seen(self, job: Job) -> Job:
        """Return a job with its progress as of now, where it is this process that works on it."""
        return self._work.seen(job)

    async def stop(self, job_id: str) -> None:
        """Stop the work on a job that was cancelled, and remove its files."""
        await _ended([task for name, task in self._tasks.items() if name == job_id])
        await self._files.run(self._files.remove, job_id)

    async def close(self) -> None:
        """Stop; what is left is done after the next start."""
        tasks = [*([self._main] if self._main else []), *self._tasks.values()]
        await _ended(tasks)
        self._files.release()
        await self._callbacks.close()
        with suppress(errors.Unavailable):  # a file that somebody else has locked
            await self._store.run(self._store.close)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._round()
            except errors.VoiceStackError as error:
                log.warning("jobs have to wait: %s", error.message)
            except Exception:
                log.exception("looking for jobs failed")
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _round(self) -> None:
        """Take up what is due."""
        if not self._store.exists or not await self._files.run(self._files.hold):
            return
        if time.monotonic() - self._tidied >= min(TIDY_SECONDS, self._settings.job_ttl_seconds):
            self._tidied = time.monotonic()
            await self._tidy()
        for job in await self._store.run(self._store.due):
            models = {running.model for running in self._running.values()}
            if job.id not in self._tasks and job.model not in models and len(models) < self._limit:
                self._running[job.id] = job
                self._begin(job.id, self._attend(job))
        for job_id in await self._store.run(self._store.callbacks):
            if job_id not in self._tasks:
                self._begin(job_id, self._courier.tell(job_id))

    async def _tidy(self) -> None:
        before = time.time() - self._settings.job_ttl_seconds
        if count := await self._store.run(self._store.expire, before=before):
            log.info("%d jobs expired", count)
        # In this order: a job that comes in between is not among them.
        ids = await self._files.run(self._files.ids)
        unfinished = await self._store.run(self._store.known, ids)
        await self._files.run(self._files.sweep, ids, unfinished)
        await self._store.run(self._store.scrub)

    def _begin(self, job_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[job_id] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._forget(job_id))

    def _forget(self, job_id: str) -> None:
        task = self._tasks.pop(job_id)
        self._running.pop(job_id, None)
        if not task.cancelled() and (error := task.exception()):
            # Not woken: what failed here, most likely the database, needs time.
            log.error("the work on %s failed", job_id, exc_info=error)
        else:
            self._news.set()

    async def _attend(self, job: Job) -> None:
        """Work on a job until it has ended."""
        log.info("%s begins", job.id)
        try:
            await self._persist(job)
        except errors.VoiceStackError as error:
            log.warning("%s failed: %s", job.id, error.message)
            await self._store.run(self._store.fail, job.id, error)
        except Exception:
            log.exception("%s failed", job.id)
            await self._store.run(self._store.fail, job.id, errors.InternalError("the job failed unexpectedly"))
        await self._files.run(self._files.remove, job.id)
        log.info("%s ended", job.id)

    async def _persist(self, job: Job) -> None:
        """Work on a job, again and again where the reason to stop may pass."""
        failures, reached = 0, job.frames_done
        while True:
            try:
                return await self._work.run(job.id)
            except (errors.Unavailable, errors.InsufficientStorage) as error:
                done = await self._frames_done(job.id, at_least=reached)
                failures, reached = (1 if done > reached else failures + 1), done
                if failures > PATIENCE:
                    raise
                delay = max(error.retry_after or 0, min(2.0 ** (failures - 1), MAX_DELAY))
                log.warning("%s goes on in %.0f s: %s", job.id, delay, error.message)
            await asyncio.sleep(delay)

    async def _frames_done(self, job_id: str, *, at_least: int) -> int:
        try:
            return (await self._store.run(self._store.get, job_id)).frames_done
        except errors.Unavailable:  # it may be the database that has to be waited for
            return at_least


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
