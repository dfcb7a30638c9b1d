"""A job as its row in the database tells it, and what it was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from asr.diarization.attribution import Attribution, SpeakersAsked
from asr.result import SubtitleLayout
from asr.transcript import TranscribeOptions
from core.errors import VoiceStackError
from utils.audio.pcm import PcmFile

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("queued", "running", "completed", "failed", "cancelled")
OPEN: tuple[Status, ...] = ("queued", "running")
CallbackState = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """How a recording is to be transcribed, and how its result is written unless the reader asks otherwise.

    `raw_rate` is the rate (Hz) of a recording without a container. `speakers` is what is to be found out about those
    who speak, None for nothing, and `attribution` what was found: kept here, where databases of earlier versions have
    room for it.
    """

    options: TranscribeOptions
    response_format: str = "json"
    words: bool = False
    logprobs: bool = False
    layout: SubtitleLayout | None = None
    audio_track: int | None = None
    raw_rate: int | None = None
    speakers: SpeakersAsked | None = None
    attribution: Attribution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job that is not in the database yet.

    `owner` is the digest of the API key, "" without keys; `fingerprint` tells whether two submissions are the same.
    """

    id: str
    owner: str
    model: str
    request: JobRequest
    fingerprint: str
    idempotency_key: str | None = None
    callback_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a job's audio, in frames. `starts` counts how often it was begun."""

    number: int
    start: int
    stop: int
    starts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job. Times are Unix seconds; `pcm` is its decoded audio, of which `frames_done` are transcribed.

    `queue_position` counts from 1 among the jobs of the same model, None unless it is queued.
    """

    id: str
    model: str
    request: JobRequest
    status: Status
    created_at: float
    started_at: float | None
    finished_at: float | None
    pcm: PcmFile | None
    frames_done: int
    chunks_done: int
    language: str | None
    language_probability: float
    error: VoiceStackError | None
    queue_position: int | None
    fingerprint: str
    callback_url: str | None
    callback_state: CallbackState | None
    callback_attempts: int

    @property
    def is_open(self) -> bool:
        """Whether there is work left."""
        return self.status in OPEN

    @property
    def progress(self) -> float:
        """The share of the audio that is transcribed, from 0 to 1."""
        if self.status == "completed":
            return 1.0
        return round(self.frames_done / self.pcm.frames, 4) if self.pcm and self.pcm.frames else 0.0

    def to_dict(self, *, ttl: float) -> dict[str, Any]:
        """Return the job as clients see it; it is forgotten `ttl` seconds after its end."""
        return {
            "id": self.id,
            "object": "audio.job",
            "status": self.status,
            "created_at": int(self.created_at),
            "started_at": _whole(self.started_at),
            "finished_at": _whole(self.finished_at),
            "expires_at": None if self.finished_at is None else int(self.finished_at + ttl),
            "model": self.model,
            "task": self.request.options.task,
            "response_format": self.request.response_format,
            "progress": self.progress,
            "queue_position": self.queue_position,
            "duration": round(self.pcm.duration, 3) if self.pcm else None,
            "language": self.language,
            "error": self.error.to_dict() if self.error else None,
            "callback": self._callback(),
        }

    def _callback(self) -> dict[str, Any] | None:
        if self.callback_url is None:
            return None
        return {"url": self.callback_url, "status": self.callback_state, "attempts": self.callback_attempts}


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
