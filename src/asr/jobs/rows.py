"""The tables of the jobs, and how their rows and our objects become each other."""

from __future__ import annotations

from collections.abc import Iterable
from sqlite3 import Row

import orjson
from pydantic import TypeAdapter

from asr.jobs.job import Job, JobRequest
from asr.transcript import Segment
from core import errors
from utils.audio.pcm import PcmFile

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    idempotency_key TEXT,
    status TEXT NOT NULL DEFAULT 'queued',
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    pcm TEXT,
    language TEXT,
    language_probability REAL NOT NULL DEFAULT 0,
    error TEXT,
    callback_url TEXT,
    callback_state TEXT,
    callback_attempts INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key ON jobs (owner, idempotency_key);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, model, seq);
CREATE TABLE IF NOT EXISTS chunks (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    segments TEXT,
    PRIMARY KEY (job, number)
)
"""
JOBS = """
SELECT jobs.*,
    (SELECT coalesce(max(stop), 0) FROM chunks WHERE job = jobs.id AND segments IS NOT NULL) AS frames_done,
    (SELECT count(*) FROM chunks WHERE job = jobs.id AND segments IS NOT NULL) AS chunks_done,
    CASE status WHEN 'queued' THEN (
        SELECT count(*) FROM jobs AS other
        WHERE other.status = 'queued' AND other.model = jobs.model AND other.seq <= jobs.seq
    ) END AS queue_position
FROM jobs
"""
REQUEST = TypeAdapter(JobRequest)
PCM = TypeAdapter(PcmFile)
SEGMENTS = TypeAdapter(tuple[Segment, ...])


def to_segments(texts: Iterable[str]) -> tuple[Segment, ...]:
    """Return what a job's chunks say, times counted from the beginning of the recording."""
    return tuple(segment for text in texts for segment in SEGMENTS.validate_json(text))


def to_job(row: Row) -> Job:
    """Return the job of a row that JOBS selected."""
    values = {name: row[name] for name in Job.__dataclass_fields__}
    values["request"] = REQUEST.validate_json(row["request"])
    values["pcm"] = None if row["pcm"] is None else PCM.validate_json(row["pcm"])
    values["error"] = None if row["error"] is None else errors.restore(orjson.loads(row["error"]))
    return Job(**values)
