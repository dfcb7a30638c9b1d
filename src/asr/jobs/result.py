"""What a finished job says, written in any format, and what a callback is sent."""

from __future__ import annotations

import orjson

from asr.diarization.attribution import naming
from asr.formats import FORMATS
from asr.jobs.job import Job, JobRequest
from asr.result import TranscriptResult
from asr.transcript import Segment


def transcript(job: Job, segments: tuple[Segment, ...], look: JobRequest) -> TranscriptResult:
    """Return the text of a job for the formats, looking as `look` says, with its speakers where they are known."""
    if job.request.attribution is not None:
        segments = job.request.attribution.applied(segments, naming(look.response_format))
    return TranscriptResult(
        segments=segments,
        duration=job.pcm.duration if job.pcm else 0.0,
        task=job.request.options.task,
        language=job.language,
        language_probability=job.language_probability,
        words=look.words,
        logprobs=look.logprobs,
        layout=look.layout,
        diarized=job.request.attribution is not None,
    )


def callback_body(job: Job, segments: tuple[Segment, ...], *, ttl: float) -> bytes:
    """Return the job as clients see it, and for a completed one its `result`.

    That is the JSON of a format that is JSON, and a string for any other.
    """
    told = {key: value for key, value in job.to_dict(ttl=ttl).items() if key != "callback"}
    if job.status == "completed":
        written = FORMATS[job.request.response_format]
        body = written.render(transcript(job, segments, job.request))
        is_json = written.content_type == "application/json"
        told["result"] = orjson.Fragment(body) if is_json else body.decode()
    return orjson.dumps(told)
