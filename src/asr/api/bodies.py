"""The bodies in which a recording may come - a form, JSON, or the bare file - read into one Form."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Final

from fastapi import Request

from asr.api import json_body
from core import errors
from core.body_limit import reading, too_large
from utils.audio import wav
from utils.forms import Form, UploadedFile
from utils.multipart import read_form
from utils.uploads import ArrivingFile, read_file

FILE_FIELDS: Final = ("file", "audio_file", "audio", "media")
"""The names under which clients send the recording."""
DEFAULT_RAW_RATE = 16_000
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_RAW_TYPES = ("audio/pcm", "audio/raw", "audio/l16", "audio/x-raw", "audio/s16le")
_RAW_FORMATS = ("pcm", "pcm16", "pcm_s16le", "s16le", "raw")
_HOW_TO_SEND = (
    "send the recording as multipart/form-data with a part named 'file', as application/json with 'input_audio', "
    "or as the body itself with an audio/* content type"
)
_NOTE_BYTES = 4096
_RATE_DIGITS = len(str(wav.MAX_RATE))


async def read_body(
    request: Request,
    folder: Path,
    *,
    max_mb: int,
    parsers: asyncio.Semaphore,
    file_fields: Collection[str] = FILE_FIELDS,
    how_to_send: str = _HOW_TO_SEND,
) -> Form:
    """Read a request's body, its files into `folder`.

    A form is read as it is; JSON becomes one, with the audio in `file_fields` as the file `file`; an audio, video or
    octet-stream body is that file, and the query holds the fields. What a form has under `file_fields` is a file
    whatever it claims to be. `parsers` bounds how many JSON bodies are parsed at once.
    Raises UnsupportedMediaType, which says `how_to_send` it, FileTooLarge, InvalidRequest for a malformed body,
    InsufficientStorage.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    limit = max_mb << 20
    with reading(too_large(limit, param="file" if file_fields else None)):
        if kind in _FORMS:
            return await read_form(request.stream(), content_type, folder, max_bytes=limit, file_fields=file_fields)
        if kind == "application/json":
            return await json_body.read(request, folder, max_bytes=limit, file_fields=file_fields, parsers=parsers)
        if kind.startswith(("audio/", "video/")) or kind == "application/octet-stream":
            file = ArrivingFile(folder / "upload-0", field="file", content_type=content_type)
            uploaded = await read_file(request.stream(), file, max_bytes=limit)
            return Form(request.query_params.multi_items(), [uploaded])
    raise errors.UnsupportedMediaType(how_to_send)


async def the_file(form: Form) -> UploadedFile:
    """Return the one uploaded file; MissingParameter, InvalidRequest or InvalidAudio when it is not there or empty."""
    files = [file for file in form.files if file.field in FILE_FIELDS]
    if len(files) > 1:
        raise errors.InvalidRequest("more than one file was sent", param="file")
    if not files:
        if any(name in FILE_FIELDS for name, _ in form.fields):
            raise _sent_as_text()
        raise errors.MissingParameter("the recording is missing; send it as a file", param="file")
    if files[0].size == 0:
        raise errors.InvalidAudio("the file is empty", param="file")
    if await asyncio.to_thread(_is_a_note, files[0]):
        raise _sent_as_text()
    return files[0]


async def raw_pcm_rate(form: Form, upload: UploadedFile) -> int | None:
    """Return the sample rate of an upload that claims to be bare 16-bit mono samples, None for one in a container.

    It is claimed by the file's content type or a `format` field; the rate comes from the field `sample_rate`, the
    content type's `rate`, or is 16000. A WAV that is mislabelled so stays a WAV. Raises InvalidRequest for a rate
    that cannot be.
    """
    kind, _, parameters = upload.content_type.partition(";")
    claimed = (form.scalar("format") or "").strip().lower() in _RAW_FORMATS
    if not claimed and kind.strip().lower() not in _RAW_TYPES:
        return None
    if await asyncio.to_thread(_is_wav, upload.path):
        return None
    named = dict(part.strip().lower().partition("=")[::2] for part in parameters.split(";"))
    rate = form.scalar("sample_rate") or named.get("rate", "").strip('" ') or str(DEFAULT_RAW_RATE)
    # The length first: Python refuses to read numbers of thousands of digits.
    plain = rate.isascii() and rate.isdigit() and len(rate) <= _RATE_DIGITS
    if not plain or not wav.MIN_RATE <= int(rate) <= wav.MAX_RATE:
        raise errors.InvalidRequest(
            f"the sample rate must be a whole number from {wav.MIN_RATE} to {wav.MAX_RATE}", param="sample_rate"
        )
    return int(rate)


def _sent_as_text() -> errors.InvalidRequest:
    return errors.InvalidRequest("'file' was sent as text; send it as a file part", param="file")


def _is_a_note(file: UploadedFile) -> bool:
    """Return whether a part that nothing but its name calls a file holds a few words: a path, a URL, a name."""
    if file.filename or file.content_type or file.size > _NOTE_BYTES:
        return False
    try:
        return file.path.read_text(encoding="utf-8").strip().isprintable()
    except UnicodeDecodeError:
        return False


def _is_wav(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return (head[:4], head[8:]) == (b"RIFF", b"WAVE")
