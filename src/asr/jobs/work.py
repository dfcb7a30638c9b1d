"""One job from its upload to its last chunk; what is done is kept at once, so that it can be taken up anywhere."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.diarization.attribution import attribution
from asr.jobs.files import UPLOAD, JobFiles
from asr.jobs.job import Chunk, Job
from asr.jobs.store import JobStore
from asr.pieces import PIECE_SECONDS
from asr.transcript import LanguageGuess, TranscribeOptions, shifted
from core.database import fsync
from core.errors import UnprocessableAudio
from core.model_entry import ModelRef
from utils.audio.pcm import PcmFile

if TYPE_CHECKING:
    from asr.service import AsrService

log = logging.getLogger(__name__)
_SAMPLE_BYTES = 2
MAX_STARTS = 25
"""A chunk that was begun so often ends its job: perhaps it is what ends the service each time."""
PATIENCE = 4.0
"""Seconds that telling the speakers of each second of audio may take, above what a request's may; it is one call."""
PAUSE = 0.06
"""Seconds between two chunks in which a model that waits for room finds this one idle (core.pool looks every 50 ms)."""


class JobWork:
    """Does jobs with the workers of a service."""

    def __init__(self, service: AsrService, store: JobStore, files: JobFiles) -> None:
        self._service = service
        self._store = store
        self._files = files
        self._reached: dict[str, int] = {}  # frames of running jobs that are heard, and may not be kept yet

    def seen(self, job: Job) -> Job:
        """Return a job with what is heard of the chunk in work counted too, for those who look on."""
        return replace(job, frames_done=max(job.frames_done, self._reached.get(job.id, 0)))

    async def run(self, job_id: str) -> None:
        """Do what is left of a job; return when it is completed, or was cancelled.

        Raises what the service raises. UnprocessableAudio is for a chunk that ended the engine's process twice, or that
        was begun again and again and never finished.
        """
        try:
            await self._run(job_id)
        finally:
            self._reached.pop(job_id, None)

    async def _run(self, job_id: str) -> None:
        if not await self._store.run(self._store.begin, job_id):
            return
        job = await self._store.run(self._store.get, job_id)
        host = self._service.host
        model = host.usable(host.named(job.model))
        pcm = await self._files.run(self._moved, job) or await self._decode(job)
        speakers = asyncio.create_task(self._attribute(job, pcm))
        try:
            if await self._chunks(job, model, pcm, speakers):
                # Its text is kept by now, should this have to be done again.
                await speakers
                await self._store.run(self._store.complete, job.id)
        finally:
            speakers.cancel()
            await asyncio.gather(speakers, return_exceptions=True)

    async def _attribute(self, job: Job, pcm: PcmFile) -> None:
        """Find out who speaks in all of a job's recording, where that is wanted and not known."""
        asked = job.request.speakers
        if asked is not None and job.request.attribution is None:
            timeout = self._service.settings.timeout + PATIENCE * pcm.duration
            found = await attribution(self._service, pcm, asked, sha256=job.id, wait=True, timeout=timeout)
            await self._store.run(self._store.attributed, job.id, found)

    async def _chunks(self, job: Job, model: ModelRef, pcm: PcmFile, speakers: asyncio.Task[None]) -> bool:
        """Transcribe what is left, chunk by chunk; False when the job was ended meanwhile.

        Raises between two of them what `speakers` has raised.
        """
        start, number = job.frames_done, job.chunks_done
        while start < pcm.frames:
            if speakers.done():
                speakers.result()
            chunk = await self._store.run(self._store.begun_chunk, job.id, number)
            if chunk is None:
                chunk = Chunk(number=number, start=start, stop=await self._cut(model, pcm, start))
            elif chunk.starts >= MAX_STARTS:
                raise UnprocessableAudio(f"a part of this audio was begun {MAX_STARTS} times and never finished")
            if not await self._store.run(self._store.begin_chunk, job.id, chunk):
                return False
            if not await self._transcribe(job, model, pcm, chunk):
                return False
            start, number = chunk.stop, number + 1
            if start < pcm.frames:
                job = await self._store.run(self._store.get, job.id)
                await asyncio.sleep(PAUSE)
        return True

    def _moved(self, job: Job) -> PcmFile | None:
        """Return a job's audio where it lies now, if it does: the whole folder may have been moved since."""
        if job.pcm is None:
            return None
        pcm = replace(job.pcm, path=self._files.folder(job.id) / job.pcm.path.name)
        return pcm if _is_whole(pcm) else None

    async def _decode(self, job: Job) -> PcmFile:
        folder, asked = self._files.folder(job.id), job.request
        # An ffmpeg that outlived the process that started it may still write into what lies there.
        await self._files.run(_remove_pcm, folder)
        pcm = await self._service.decode(
            folder / UPLOAD,
            folder,
            audio_track=asked.audio_track,
            raw_rate=asked.raw_rate,
            channels=asked.speakers.channels if asked.speakers else 1,
        )
        await self._files.run(_keep, pcm.path)
        await self._store.run(self._store.decoded, job.id, pcm)
        return pcm

    async def _cut(self, model: ModelRef, pcm: PcmFile, start: int) -> int:
        """Return the frame at which the chunk that begins at `start` ends."""
        rest = _part(pcm, start, pcm.frames)
        if rest.duration <= PIECE_SECONDS:
            return pcm.frames
        params = {"pcm": {**asdict(rest), "path": str(rest.path)}}
        timeout = self._service.settings.timeout
        async with self._service.host.call(model, "cut", params, timeout=timeout, short=True, wait=True) as call:
            seconds = [float(event.data["seconds"]) async for event in call if event.name == "cut"]
        return min(start + max(round(seconds[0] * pcm.sample_rate), 1), pcm.frames)

    async def _transcribe(self, job: Job, model: ModelRef, pcm: PcmFile, chunk: Chunk) -> bool:
        """Transcribe a chunk and keep the text; False when the job was ended meanwhile."""
        audio, offset = _part(pcm, chunk.start, chunk.stop), chunk.start / pcm.sample_rate
        work = self._service.transcribe(
            audio,
            _options(job, chunk),
            model=model,
            # Its name in the count of what ends workers.
            sha256=f"{job.id}/{chunk.number}",
            wait=True,
        )
        async with work as transcript, aclosing(aiter(transcript)) as found:
            async for segment in found:
                seconds = max(segment.end, transcript.seconds_done)
                self._reached[job.id] = min(chunk.start + round(seconds * pcm.sample_rate), chunk.stop)
        segments = [shifted(segment, segment.id, offset) for segment in transcript.segments]
        guess = LanguageGuess(transcript.language, transcript.language_probability)
        return await self._store.run(self._store.finish_chunk, job.id, chunk.number, segments, guess)


def _options(job: Job, chunk: Chunk) -> TranscribeOptions:
    """Return the options for a chunk: the language that was heard first is the language of all that follows.

    The prompt is the text before the first one.
    """
    options = job.request.options
    if chunk.number > 0:
        options = replace(options, prompt=None)
    return replace(options, language=job.language) if job.language and options.language is None else options


def _part(pcm: PcmFile, start: int, stop: int) -> PcmFile:
    return replace(pcm, offset=pcm.offset + start * pcm.channels * _SAMPLE_BYTES, frames=stop - start)


def _is_whole(pcm: PcmFile) -> bool:
    end = pcm.offset + pcm.frames * pcm.channels * _SAMPLE_BYTES
    return pcm.path.is_file() and pcm.path.stat().st_size >= end


def _keep(path: Path) -> None:
    """Wait until a file is on the disk, and its name."""
    fsync(path)
    fsync(path.parent)


def _remove_pcm(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != UPLOAD:
            path.unlink()
