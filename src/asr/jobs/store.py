"""The jobs in SQLite: every change of a job's state is one transaction, on the disk when the call returns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from sqlite3 import Connection
from typing import ParamSpec, TypeVar

import orjson

from asr.diarization.attribution import Attribution
from asr.jobs.job import OPEN, Chunk, Job, NewJob, Status
from asr.jobs.rows import JOBS, PCM, REQUEST, SCHEMA, VERSION, to_job
from asr.transcript import LanguageGuess, Segment
from core import errors
from core.database import Database
from utils.audio.pcm import PcmFile

P = ParamSpec("P")
T = TypeVar("T")
CALLBACK_MARGIN = 3600.0


class JobStore:
    """Reads and writes jobs. Every method blocks but `run`; see core.database for what all of them may raise."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=SCHEMA, version=VERSION)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, a method of this store, without blocking; Unavailable when the file is in use for too long."""
        return await self._database.run(work, *args, **kwargs)

    @property
    def exists(self) -> bool:
        """Whether there may be jobs; the file is made with the first one."""
        return self._database.exists

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # --- seen by clients

    def add(self, new: NewJob, *, max_open: int) -> tuple[Job, bool]:
        """Add a job, or find the one that has its idempotency key; return it and whether it is new.

        Raises IdempotencyConflict when that one is of something else, QueueFull when `max_open` jobs are unfinished.
        """
        with self._database.write() as connection:
            if found := _by_key(connection, new.owner, new.idempotency_key):
                if found.fingerprint != new.fingerprint:
                    raise errors.IdempotencyConflict("this Idempotency-Key was used for another recording or options")
                return found, False
            (waiting,) = connection.execute("SELECT count(*) FROM jobs WHERE status IN (?, ?)", OPEN).fetchone()
            if waiting >= max_open:
                raise errors.QueueFull(f"{waiting} jobs are unfinished, which is the limit; try again later")
            connection.execute(
                "INSERT INTO jobs (id, owner, model, request, fingerprint, idempotency_key, created_at, callback_url)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(new.id, new.owner, new.model, REQUEST.dump_json(new.request).decode(), new.fingerprint),
                    *(new.idempotency_key, time.time(), new.callback_url),
                ),
            )
            return _one(connection, new.id), True

    def get(self, job_id: str, *, owner: str | None = None) -> Job:
        """Return a job; NotFound for one that does not exist, or that belongs to somebody else than `owner`."""
        if not self.exists:
            raise _unknown()
        with self._database.read() as connection:
            return _one(connection, job_id, owner=owner)

    def page(self, owner: str, *, limit: int, after: str | None, status: Status | None) -> list[Job]:
        """Return an owner's jobs, the newest first, at most `limit`, beginning after the job with the id `after`.

        Raises InvalidRequest when the owner has no job `after`.
        """
        if not self.exists:
            if after is not None:
                raise _no_start()
            return []
        query, values = f"{JOBS} WHERE owner = ?", [owner]
        if after is not None:
            query += " AND seq < (SELECT seq FROM jobs WHERE id = ?)"
            values.append(after)
        if status is not None:
            query += " AND status = ?"
            values.append(status)
        # One state of both: where the job `after` expires between them, the page would be empty.
        with self._database.snapshot() as connection:
            known = connection.execute("SELECT 1 FROM jobs WHERE id = ? AND owner = ?", (after, owner)).fetchone()
            if after is not None and known is None:
                raise _no_start()
            rows = connection.execute(f"{query} ORDER BY seq DESC LIMIT ?", (*values, limit)).fetchall()
        return [to_job(row) for row in rows]

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that is not finished, and return it as it is now."""
        with self._database.write() as connection:
            had_voices = _end(connection, job_id, "cancelled")
            job = _one(connection, job_id)
        self._scrub_after(had_voices)
        return job

    def result(self, job_id: str, *, owner: str | None = None) -> tuple[Job, list[str]]:
        """Return a job and what is transcribed of it, for `to_segments`; NotFound as in `get`."""
        if not self.exists:
            raise _unknown()
        query = "SELECT segments FROM chunks WHERE job = ? AND segments IS NOT NULL ORDER BY number"
        # One state of both: a job that expires between them would seem to have said nothing.
        with self._database.snapshot() as connection:
            job = _one(connection, job_id, owner=owner)
            rows = connection.execute(query, (job_id,)).fetchall()
        return job, [row["segments"] for row in rows]

    # --- used by whoever does the work

    def due(self) -> list[Job]:
        """Return the jobs to work on: those that were begun, then the first of each model's queue."""
        first = "SELECT min(seq) FROM jobs AS other WHERE other.status = 'queued' AND other.model = jobs.model"
        with self._database.read() as connection:
            rows = connection.execute(
                f"{JOBS} WHERE status = 'running' OR status = 'queued' AND seq = ({first}) ORDER BY status DESC, seq"
            ).fetchall()
        return [to_job(row) for row in rows]

    def begin(self, job_id: str) -> bool:
        """Mark a job as running; False when it is finished, cancelled or gone."""
        with self._database.write() as connection:
            query = "UPDATE jobs SET status = 'running', started_at = coalesce(started_at, ?) WHERE id = ?"
            done = connection.execute(f"{query} AND status IN (?, ?)", (time.time(), job_id, *OPEN))
            return done.rowcount == 1

    def decoded(self, job_id: str, pcm: PcmFile) -> None:
        """Record the decoded audio of a job."""
        with self._database.write() as connection:
            connection.execute("UPDATE jobs SET pcm = ? WHERE id = ?", (PCM.dump_json(pcm).decode(), job_id))

    def attributed(self, job_id: str, found: Attribution) -> None:
        """Record who speaks in a job's recording; nobody's voice is kept, being biometric data."""
        with self._database.write() as connection:
            row = connection.execute("SELECT request FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                return
            request = REQUEST.validate_json(row["request"])
            request = replace(request, attribution=replace(found, embeddings={}))
            text = REQUEST.dump_json(request).decode()
            connection.execute("UPDATE jobs SET request = ? WHERE id = ?", (text, job_id))

    def begun_chunk(self, job_id: str, number: int) -> Chunk | None:
        """Return a chunk that was begun and not finished."""
        query = "SELECT * FROM chunks WHERE job = ? AND number = ? AND segments IS NULL"
        with self._database.read() as connection:
            row = connection.execute(query, (job_id, number)).fetchone()
        return None if row is None else Chunk(**{name: row[name] for name in Chunk.__dataclass_fields__})

    def begin_chunk(self, job_id: str, chunk: Chunk) -> bool:
        """Count a start of a chunk; False when the job is not running any more."""
        with self._database.write() as connection:
            done = connection.execute(
                "INSERT INTO chunks (job, number, start, stop, starts)"
                " SELECT id, ?, ?, ?, 1 FROM jobs WHERE id = ? AND status = 'running'"
                " ON CONFLICT (job, number) DO UPDATE SET starts = starts + 1",
                (chunk.number, chunk.start, chunk.stop, job_id),
            )
            return done.rowcount == 1

    def finish_chunk(self, job_id: str, number: int, segments: Iterable[Segment], guess: LanguageGuess) -> bool:
        """Keep what a chunk said; False when the job was ended meanwhile.

        The first language that is guessed becomes the job's.
        """
        text = orjson.dumps([asdict(segment) for segment in segments]).decode()
        with self._database.write() as connection:
            done = connection.execute(
                "UPDATE chunks SET segments = ? WHERE job = ? AND number = ? AND segments IS NULL"
                " AND (SELECT status FROM jobs WHERE id = ?) = 'running'",
                (text, job_id, number, job_id),
            )
            if done.rowcount != 1:
                return False
            connection.execute(
                "UPDATE jobs SET language = ?, language_probability = ? WHERE id = ? AND language IS NULL",
                (guess.language, guess.probability, job_id),
            )
            return True

    def complete(self, job_id: str) -> None:
        """End a job whose chunks are all finished, unless it has ended."""
        with self._database.write() as connection:
            had_voices = _end(connection, job_id, "completed")
        self._scrub_after(had_voices)

    def fail(self, job_id: str, error: errors.VoiceStackError) -> None:
        """End a job with an error, unless it has ended."""
        with self._database.write() as connection:
            had_voices = _end(connection, job_id, "failed", error)
        self._scrub_after(had_voices)

    def _scrub_after(self, had_voices: bool) -> None:
        if had_voices:
            self.scrub()

    # --- afterwards

    def scrub(self) -> bool:
        """Empty the log of the database, which else keeps the voices of jobs that ended.

        False while another process reads it: whoever tidies up does this again.
        """
        return self._database.empty_log()

    def callbacks(self) -> list[str]:
        """Return the ids of the finished jobs whose callback has not been delivered yet."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT id FROM jobs WHERE callback_state = 'pending' ORDER BY seq").fetchall()
        return [row["id"] for row in rows]

    def callback_tried(self, job_id: str, *, delivered: bool, tries: int) -> int:
        """Record one try of a callback; return how many there were. The state is failed after `tries`."""
        with self._database.write() as connection:
            row = connection.execute("SELECT callback_attempts FROM jobs WHERE id = ?", (job_id,)).fetchone()
            attempts = (row["callback_attempts"] if row else tries) + 1
            state = "delivered" if delivered else "failed" if attempts >= tries else "pending"
            query = "UPDATE jobs SET callback_attempts = ?, callback_state = ? WHERE id = ?"
            connection.execute(query, (attempts, state, job_id))
            return int(attempts)

    def expire(self, *, before: float) -> int:
        """Forget the jobs that ended before this Unix time; return their number.

        One whose callback is still due is kept for CALLBACK_MARGIN seconds more.
        """
        query = "DELETE FROM jobs WHERE finished_at < CASE WHEN callback_state = 'pending' THEN ? ELSE ? END"
        with self._database.write() as connection:
            return connection.execute(query, (before - CALLBACK_MARGIN, before)).rowcount

    def known(self, ids: Sequence[str]) -> dict[str, bool]:
        """Return those of the ids that are jobs, with whether they are unfinished."""
        marks = ", ".join("?" * len(ids))
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT id, status FROM jobs WHERE id IN ({marks})", ids).fetchall()  # noqa: S608
        return {row["id"]: row["status"] in OPEN for row in rows}


def _end(connection: Connection, job_id: str, status: Status, error: errors.VoiceStackError | None = None) -> bool:
    """Finish a job, once: whoever comes second changes nothing. A cancelled job calls nobody back.

    The voices that its speakers were compared with go, being biometric data; return whether there were any.
    """
    voices = "SELECT json_array_length(request, '$.speakers.known') FROM jobs WHERE id = ?"
    row = connection.execute(voices, (job_id,)).fetchone()
    told = None if error is None else orjson.dumps(errors.dump(error)).decode()
    connection.execute(
        "UPDATE jobs SET status = ?, error = ?, finished_at = ?, request = json_remove(request, '$.speakers.known'),"
        " callback_state = CASE WHEN callback_url IS NOT NULL AND ? <> 'cancelled' THEN 'pending' END"
        " WHERE id = ? AND status IN (?, ?)",
        (status, told, time.time(), status, job_id, *OPEN),
    )
    return bool(row and row[0])


def _unknown() -> errors.NotFound:
    return errors.NotFound("there is no such job; it may have expired")


def _no_start() -> errors.InvalidRequest:
    return errors.InvalidRequest("there is no job with this id to go on after", param="after")


def _by_key(connection: Connection, owner: str, key: str | None) -> Job | None:
    if key is None:
        return None
    row = connection.execute(f"{JOBS} WHERE owner = ? AND idempotency_key = ?", (owner, key)).fetchone()
    return None if row is None else to_job(row)


def _one(connection: Connection, job_id: str, *, owner: str | None = None) -> Job:
    row = connection.execute(f"{JOBS} WHERE id = ?", (job_id,)).fetchone()
    if row is None or (owner is not None and row["owner"] != owner):
        raise _unknown()
    return to_job(row)
