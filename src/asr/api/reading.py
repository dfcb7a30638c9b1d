"""From a request to what it asks for: the recording, the model and validated fields; it is not decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from asr.api.bodies import raw_pcm_rate, read_body, the_file
from asr.api.schemas import TranscriptionRequest
from asr.api.speakers import read_speakers
from asr.attributed import AnyTranscript
from asr.diarization.attribution import SpeakersAsked
from asr.result import TranscriptResult
from asr.service import AsrService
from asr.transcript import Task
from core import errors
from core.model_entry import ModelRef
from utils.forms import Form, UploadedFile

TRANSLATION_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A transcription request that was found valid, its recording in the request's folder, not decoded yet.

    `models` are those that may answer, the one that was asked for first. `raw_rate` is the rate (Hz) of a recording
    that is bare 16-bit mono samples, None for one in a container. `speakers` is what it wants to know of them, None
    without diarization. `form` holds all fields, also those of other routes.
    """

    wanted: TranscriptionRequest
    upload: UploadedFile
    models: Sequence[ModelRef]
    task: Task
    raw_rate: int | None
    speakers: SpeakersAsked | None
    form: Form

    @property
    def model(self) -> ModelRef:
        """The model that was asked for."""
        return self.models[0]

    @property
    def channels(self) -> int | None:
        """How many channels the recording is to be decoded to, None for all that it has."""
        return self.speakers.channels if self.speakers else 1

    def result(self, transcript: AnyTranscript) -> TranscriptResult:
        """Return what there is of a transcript, for the formats."""
        wanted = self.wanted
        return transcript.result(self.task, words=wanted.shows_words, logprobs=wanted.logprobs, layout=wanted.layout)


async def read_transcription(service: AsrService, request: Request, folder: Path, **defaults: Any) -> Asked:
    """Read a request's body, files into `folder`, and check every field; `defaults` are fields it may leave out.

    Raises what reading a body raises, InvalidRequest, UnsupportedFormat, MissingParameter, InvalidAudio (an empty
    file), ModelNotFound, and what asr.api.speakers.read_speakers raises.
    """
    form = await read_body(request, folder, max_mb=service.settings.max_upload_mb, parsers=service.parsers)
    wanted = TranscriptionRequest.from_form(form, **defaults)
    if wanted.translate and wanted.response_format not in TRANSLATION_FORMATS:
        raise errors.UnsupportedFormat(
            f"translations come as one of: {', '.join(TRANSLATION_FORMATS)}", param="response_format"
        )
    upload = await the_file(form)
    models = service.host.chain(wanted.model)
    task: Task = "translate" if wanted.translate else wanted.task
    rate = await raw_pcm_rate(form, upload)
    speakers = await read_speakers(service, wanted, folder, request.receive)
    return Asked(wanted=wanted, upload=upload, models=models, task=task, raw_rate=rate, speakers=speakers, form=form)
