"""A recording as a long job of the service: handed over, watched, fetched; the job lives on when we do not."""

from __future__ import annotations

import asyncio
import re
import shlex
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from asr.settings import AsrSettings
from core import errors
from voice_stack.cli.client import gone, raise_for_error, told_error
from voice_stack.cli.transcriber import service_client

console = Console(stderr=True, highlight=False)
INTERRUPTED = 130
PATIENCE = 30
"""How often a service that does not answer is asked again; jobs outlive its restarts."""
PAUSE = 1.0
LOOK_SECONDS = 30.0
"""How long the state of a job may take to come."""
ENDED = frozenset({"completed", "failed", "cancelled"})
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What is wanted of the service: a new job for `file`, or the one with `job_id`.

    `data` is the form beside the file, `look` says how the text is to be written, `again` are the options that a later
    command needs to get the same.
    """

    file: Path | None
    job_id: str | None
    data: dict[str, Any]
    look: dict[str, Any]
    again: tuple[str, ...] = ()


def run(settings: AsrSettings, url: str, errand: Errand, bar: Progress) -> bytes:
    """Return the text of a job once it is done; Ctrl-C leaves the job alone and says how to come back to it."""
    if errand.job_id is not None and not _JOB_ID.fullmatch(errand.job_id):
        raise errors.InvalidRequest(f"{errand.job_id!r} is not the id of a job")
    work = _Work(url, errand)
    try:
        with bar:
            return asyncio.run(work.fetch(settings, bar))
    except KeyboardInterrupt:
        _say(work.farewell())
        raise typer.Exit(INTERRUPTED) from None
    except errors.Unavailable:
        _say(work.farewell())
        raise


class _Work:
    """One job as seen from here."""

    def __init__(self, url: str, errand: Errand) -> None:
        self._url = url
        self._errand = errand
        self.job_id = errand.job_id

    def farewell(self) -> str:
        """Return what somebody who leaves now should know: the command that fetches the job."""
        if self.job_id is None:
            return "the service does not have the recording yet; there is no job"
        command = shlex.join(("voice-stack", "transcribe", "--job-id", self.job_id, *self._errand.again))
        return f"the job goes on without us; come back to it with: {command}"

    async def fetch(self, settings: AsrSettings, bar: Progress) -> bytes:
        """Hand the recording over unless that is done, wait, and return the text."""
        async with service_client(self._url, settings) as client:
            if self._errand.file is not None:
                task = bar.add_task("sending", total=None)
                self.job_id = await self._submit(client, self._errand.file)
                bar.remove_task(task)
                _say(f"{self.job_id}: the service has the recording")
            await self._wait(client, bar, bar.add_task("waiting", total=1.0))
            look = self._errand.look
            answer = await self._ask(lambda: client.get(f"/audio/jobs/{self.job_id}/result", params=look))
        return answer.content

    async def _submit(self, client: httpx.AsyncClient, file: Path) -> str:
        # Sent again after a broken connection, it is still the same job.
        headers = {"Idempotency-Key": uuid.uuid4().hex}

        async def send() -> httpx.Response:
            with file.open("rb") as recording:
                return await client.post(
                    "/audio/jobs", data=self._errand.data, files={"file": recording}, headers=headers
                )

        return str((await self._ask(send, patience=1)).json()["id"])

    async def _wait(self, client: httpx.AsyncClient, bar: Progress, task: TaskID) -> None:
        """Wait for the job's end; raise what it failed with."""
        while True:
            job = (await self._ask(lambda: client.get(f"/audio/jobs/{self.job_id}", timeout=LOOK_SECONDS))).json()
            bar.update(task, completed=job.get("progress") or 0.0, description=_state(job))
            if job["status"] in ENDED:
                break
            await asyncio.sleep(PAUSE)
        if job["status"] == "failed":
            raise told_error(job.get("error"), otherwise=errors.InternalError(f"the job {self.job_id} failed"))
        if job["status"] == "cancelled":
            raise errors.InvalidRequest(f"the job {self.job_id} was cancelled")

    async def _ask(self, send: Callable[[], Awaitable[httpx.Response]], *, patience: int = PATIENCE) -> httpx.Response:
        """Return the answer of the service; wait for one that is restarting. Raises VoiceStackError."""
        while True:
            try:
                response = await send()
                await raise_for_error(response)
            except httpx.HTTPError as error:
                failure: errors.Unavailable = gone(self._url, error)
            except errors.Unavailable as error:
                failure = error
            else:
                return response
            if not patience:
                raise failure
            patience -= 1
            await asyncio.sleep(PAUSE)


def _state(job: dict[str, Any]) -> str:
    place = job.get("queue_position")
    return f"queued, number {place}" if job["status"] == "queued" and place else str(job["status"])


def _say(line: str) -> None:
    console.print(line, markup=False, emoji=False, soft_wrap=True)
