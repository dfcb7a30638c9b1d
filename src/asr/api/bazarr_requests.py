"""What the clients of whisper-asr-webservice send, of which Bazarr is one: raw samples or a file, fields anywhere."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from asr.api.bodies import read_body, the_file
from asr.api.schemas import ANY_CASE, TranscriptionRequest
from asr.result import SubtitleLayout
from asr.service import AsrService
from core.answers import from_validation
from utils import languages
from utils.audio import sniff, wav
from utils.forms import Form, UploadedFile

log = logging.getLogger(__name__)
RAW_RATE = 16_000
"""Hz of bodies without a header, which are 16-bit mono samples."""
SUBTITLES = ("srt", "vtt")
_OPENAI_NAMES = {"initial_prompt": "prompt", "enable_diarization": "diarize"}
_FAMILY_NAMES = {"prompt": "initial_prompt"}
_SHARED_FIELDS = (
    "task", "language", "initial_prompt", "hotwords", "vad_filter", "word_timestamps", "diarize", "min_speakers",
    "max_speakers", "model",
)  # fmt: skip
_NOT_HERE = ("response_format", "stream")
_SHOWN_CHARS = 200
_HOW_TO_SEND = "send the recording as the file audio_file of a form (multipart/form-data)"


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    encode: bool = Field(default=True, description="false: the file is bare 16-bit mono samples at 16 kHz.")
    video_file: str | None = Field(default=None, description="Where the client has the video; it goes into the log.")

    @classmethod
    def from_form(cls, form: Form) -> Self:
        """Validate a form; empty fields count as absent. Raises InvalidRequest."""
        given = {name: value for name in cls.model_fields if (value := form.scalar(name)) is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise from_validation(error.errors(include_input=False), cls.model_fields) from error


class AsrFields(_Fields):
    """The fields of /asr that OpenAI has no word for."""

    output: Annotated[Literal["txt", "text", "vtt", "srt", "tsv", "json", "jsonl"], ANY_CASE] = "txt"
    return_speaker_embeddings: bool = Field(
        default=False, description="With diarize and output=json: also the vector of each speaker's voice."
    )


class DetectFields(_Fields):
    """The fields of /detect-language; times are seconds."""

    model: str | None = Field(default=None, max_length=512)
    detect_lang_length: float = Field(default=30.0, ge=1, le=600, description="Speech in each of three windows.")
    detect_lang_offset: float = Field(default=0.0, ge=0, le=86400, description="Where the first window may begin.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An upload in the request's folder. `raw_rate` in Hz for bare samples, `empty` when there is no sample in it."""

    upload: UploadedFile
    raw_rate: int | None
    empty: bool


async def read(service: AsrService, request: Request, folder: Path) -> Form:
    """Read the body; the fields of the query come first, so that those of the body win.

    Raises what asr.api.bodies.read_body raises.
    """
    max_mb = service.settings.max_upload_mb
    form = await read_body(request, folder, max_mb=max_mb, parsers=service.parsers, how_to_send=_HOW_TO_SEND)
    return Form(request.query_params.multi_items() + form.fields, form.files)


async def recording(form: Form, fields: AsrFields | DetectFields) -> Recording:
    """Return the upload. Raises MissingParameter, and InvalidRequest for more than one."""
    if fields.video_file:
        log.info("the client calls it %.*r", _SHOWN_CHARS, fields.video_file)
    files = [file for file in form.files if file.size]
    if form.files and not files:
        return Recording(upload=form.files[0], raw_rate=RAW_RATE, empty=True)
    upload = await the_file(Form(form.fields, files))
    return await asyncio.to_thread(_described, upload, raw=not fields.encode)


def _described(upload: UploadedFile, *, raw: bool) -> Recording:
    with upload.path.open("rb") as file:
        head = file.read(sniff.HEAD_BYTES)
    if raw and not sniff.is_container(head):
        return Recording(upload=upload, raw_rate=RAW_RATE, empty=upload.size < 2)  # noqa: PLR2004 - one sample
    samples = wav.probe(upload.path)
    return Recording(upload=upload, raw_rate=None, empty=samples is not None and not samples.frames)


def transcription(form: Form, fields: AsrFields) -> TranscriptionRequest:
    """Return what is asked for in OpenAI's words: subtitles laid out by words, an unknown language detected.

    Raises InvalidRequest and UnsupportedFormat.
    """
    layout = SubtitleLayout()
    defaults: dict[str, Any] = {}
    if fields.output in SUBTITLES:
        defaults = {"max_line_width": layout.max_line_width, "max_line_count": layout.max_line_count}
    renamed = [(_OPENAI_NAMES.get(name, name), value) for name, value in form.fields if name not in _NOT_HERE]
    known = [(name, value) for name, value in renamed if name != "language" or _is_language(value)]
    return TranscriptionRequest.from_form(Form([*known, ("response_format", fields.output)]), **defaults)


def _is_language(value: str) -> bool:
    try:
        languages.parse(value)
    except ValueError as error:
        log.warning("%s; it is detected", error)
        return False
    return True


def asr_parameters() -> list[dict[str, Any]]:
    """Return the fields of /asr as the query parameters of an OpenAPI operation."""
    shared = {_FAMILY_NAMES.get(name, name): field for name, field in _properties(TranscriptionRequest).items()}
    return _parameters(_properties(AsrFields) | {name: shared[name] for name in _SHARED_FIELDS})


def detect_parameters() -> list[dict[str, Any]]:
    """Return the fields of /detect-language as the query parameters of an OpenAPI operation."""
    return _parameters(_properties(DetectFields))


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema()["properties"]
    return found


def _parameters(properties: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
