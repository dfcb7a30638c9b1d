"""What requests about people's voices hold: recordings as uploads, base64 or data URIs, and the fields beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from asr.api.fields import Distance, Fields, zero_is_absent
from core import errors
from core.spool import storage_error
from utils.data_url import encoded_file, is_url
from utils.forms import Form
from utils.uploads import ArrivingFile, UploadedFile, in_thread

ONE: Final = ("audio", "file")
FIRST: Final = ("audio1", "file1")
SECOND: Final = ("audio2", "file2")
"""The names under which a recording may come, the documented one first."""
DEFAULT_TOP_K: Final = 5
HOW_TO_SEND: Final = (
    "send a form (multipart/form-data) with the recording as a file, or application/json with it as base64"
)
_Count = Annotated[int, Field(ge=1, le=1000)]


class VoiceRequest(Fields):
    """The fields beside the recordings. `threshold` is a cosine distance, None: as the model thinks best."""

    model: str | None = None
    id: str | None = None
    name: str | None = None
    threshold: Distance = None
    top_k: Annotated[_Count | None, BeforeValidator(zero_is_absent)] = None
    labels: Mapping[str, object] | None = None

    @classmethod
    def _given(cls, form: Form) -> dict[str, Any]:
        given = super()._given(form)
        try:
            labels = form.mapping("labels")
        except ValueError as error:
            raise errors.InvalidRequest(str(error), param="labels") from error
        return given if labels is None else {**given, "labels": labels}


async def recording(form: Form, names: Sequence[str], folder: Path) -> UploadedFile:
    """Return the one recording that has one of these names; base64 is written into `folder`.

    Raises MissingParameter, InvalidRequest for more than one, a URL or what is no base64, InvalidAudio for an empty
    one, InsufficientStorage.
    """
    param = names[0]
    files = [file for file in form.files if file.field in names]
    texts = [text for name in names if (text := form.scalar(name)) is not None]
    if len(files) + len(texts) > 1:
        raise errors.InvalidRequest(f"more than one recording was sent as {param!r}", param=param)
    if texts:
        files = [await _written(texts[0], folder / f"decoded-{param}", param)]
    if not files:
        raise errors.MissingParameter(
            f"the recording {param!r} is missing; send it as a file, as base64 or as a data URI", param=param
        )
    if not files[0].size:
        raise errors.InvalidAudio(f"the recording {param!r} is empty", param=param)
    return files[0]


async def _written(text: str, path: Path, param: str) -> UploadedFile:
    if is_url(text):
        raise errors.InvalidRequest(
            f"{param!r} is a URL, and URLs are not fetched; send the recording itself as base64 or a data URI",
            param=param,
        )
    try:
        return await in_thread(lambda: _decoded(text, path, param))
    except ValueError as error:
        raise errors.InvalidRequest(f"{param!r} cannot be read: {error}", param=param) from error
    except OSError as error:
        raise storage_error(error) from error


def _decoded(text: str, path: Path, param: str) -> UploadedFile:
    encoded = encoded_file(text)
    file = ArrivingFile(path, field=param, content_type=encoded.content_type)
    for piece in encoded.pieces():
        file.buffer += piece
        file.flush()
    return file.uploaded()
