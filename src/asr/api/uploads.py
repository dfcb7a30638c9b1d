"""Reading an uploaded recording and the fields beside it from a request body."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request

from core import errors
from core.spool import storage_error
from utils.forms import Form, UploadedFile
from utils.multipart import BodyTooLarge, MultipartError, read_form

FILE_FIELDS = ("file", "audio_file", "audio", "media")


async def read_request(request: Request, folder: Path, *, max_mb: int) -> Form:
    """Read a multipart body, its files into `folder`.

    Raises UnsupportedMediaType, FileTooLarge, InvalidRequest for a malformed body, InsufficientStorage.
    """
    content_type = request.headers.get("content-type", "")
    limit = max_mb << 20
    if not content_type.lower().startswith("multipart/form-data"):
        raise errors.UnsupportedMediaType("send the recording as multipart/form-data with a part named 'file'")
    if int(request.headers.get("content-length") or 0) > limit:
        raise _too_large(max_mb)
    try:
        return await read_form(request.stream(), content_type, folder, max_bytes=limit)
    except BodyTooLarge as error:
        raise _too_large(max_mb) from error
    except MultipartError as error:
        raise errors.InvalidRequest(f"the multipart body is malformed: {error}") from error
    except OSError as error:
        raise storage_error(error) from error


def _too_large(max_mb: int) -> errors.FileTooLarge:
    return errors.FileTooLarge(f"the body is larger than the {max_mb} MiB this service accepts", param="file")


def the_file(form: Form) -> UploadedFile:
    """Return the one uploaded file; MissingParameter, InvalidRequest or InvalidAudio when it is not there or empty."""
    files = [file for file in form.files if file.field in FILE_FIELDS]
    if len(files) > 1:
        raise errors.InvalidRequest("more than one file was sent", param="file")
    if not files:
        if any(name in FILE_FIELDS for name, _ in form.fields):
            raise errors.InvalidRequest("'file' was sent as text; send it as a file part", param="file")
        raise errors.MissingParameter("the file to transcribe is missing", param="file")
    if files[0].size == 0:
        raise errors.InvalidAudio("the file is empty", param="file")
    return files[0]
