"""Who tells the clients' URLs how their jobs ended: a few times each, and no longer than they are told."""

from __future__ import annotations

import asyncio
import logging

from asr.jobs.callbacks import AT_ONCE, CallbackFailed, Callbacks
from asr.jobs.files import JobFiles
from asr.jobs.job import Job
from asr.jobs.result import callback_body
from asr.jobs.rows import to_segments
from asr.jobs.store import JobStore
from core import errors

log = logging.getLogger(__name__)
TRIES = 3
DELAY = 2.0
"""Seconds before the second try; squared before the third."""
RECORD_SECONDS = 10.0
"""How long it waits until it tries again to write down what it has done."""


class Courier:
    """Makes the callbacks of finished jobs, a few at once; they are told what is kept for `ttl` seconds."""

    def __init__(self, store: JobStore, files: JobFiles, callbacks: Callbacks, *, ttl: float) -> None:
        self._store = store
        self._files = files
        self._callbacks = callbacks
        self._ttl = ttl
        self._places = asyncio.Semaphore(AT_ONCE)

    async def tell(self, job_id: str) -> None:
        """Tell the client's URL. The same may be told twice after a crash, never not at all."""
        for tried in range(1, TRIES + 1):
            if await self._try(job_id):
                return
            await asyncio.sleep(DELAY**tried)

    async def _try(self, job_id: str) -> bool:
        """Call once, unless nothing is left to be told; return whether that was it."""
        async with self._places:
            try:
                # Read only now: the list that named the job may be older than its last try.
                job, texts = await self._store.run(self._store.result, job_id)
            except errors.NotFound:
                return True
            if job.callback_state != "pending":
                return True
            delivered = await self._deliver(job, texts)
        attempts = await self._record(job_id, delivered=delivered)
        return delivered or attempts >= TRIES

    async def _deliver(self, job: Job, texts: list[str]) -> bool:
        try:
            body = await self._files.run(_body, job, texts, self._ttl)
            await self._callbacks.deliver(job.callback_url or "", body, job_id=job.id)
        except CallbackFailed as error:
            log.warning("the callback of %s failed: %s", job.id, error)
            return False
        except Exception:
            # A try like any other: one that is not counted would be made for ever.
            log.exception("the callback of %s failed", job.id)
            return False
        return True

    async def _record(self, job_id: str, *, delivered: bool) -> int:
        """Write a try down, however long it takes: what is not written down would be told again at once."""
        while True:
            try:
                return await self._store.run(self._store.callback_tried, job_id, delivered=delivered, tries=TRIES)
            except errors.VoiceStackError as error:
                log.warning("the callback of %s is not recorded yet: %s", job_id, error.message)
            await asyncio.sleep(RECORD_SECONDS)


def _body(job: Job, texts: list[str], ttl: float) -> bytes:
    return callback_body(job, to_segments(texts), ttl=ttl)
