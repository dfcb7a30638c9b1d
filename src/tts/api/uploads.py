"""Reading a recording and the fields beside it, or a small JSON object, from a request body."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from fastapi import Request

from core import errors
from core.body_limit import reading
from tts.samples import MAX_BYTES
from utils.forms import Form
from utils.multipart import read_form
from utils.uploads import UploadedFile

MAX_JSON_BYTES = 1 << 20
NAME_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
        }
    },
}
"""What `read_name` reads, for the OpenAPI document."""
_MAX_FIELD_BYTES = 1 << 20
_MAX_FIELDS, _MAX_FILES = 100, 4
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


async def read_upload(request: Request, folder: Path, *, fields: Sequence[str]) -> Form:
    """Read a form, its files into `folder`; `fields` are the names its recording may go by, the right one first.

    A JSON object counts as a form without files. Raises UnsupportedMediaType, FileTooLarge, InvalidRequest for a
    malformed body, InsufficientStorage.
    """
    kind = media_type(request)
    if kind == "application/json":
        data = await read_object(request)
        return Form([(name, value) for name, value in data.items() if isinstance(value, str)])
    if kind not in _FORMS:
        raise errors.UnsupportedMediaType(f"send a form (multipart/form-data) with the recording in '{fields[0]}'")
    with reading(too_large(param=fields[0])):
        return await read_form(
            request.stream(),
            request.headers["content-type"],
            folder,
            max_bytes=MAX_BYTES + _MAX_FIELD_BYTES,
            max_field_bytes=_MAX_FIELD_BYTES,
            max_fields=_MAX_FIELDS,
            max_files=_MAX_FILES,
            file_fields=fields,
        )


def the_recording(form: Form, fields: Sequence[str]) -> UploadedFile:
    """Return the one recording of a form. Raises MissingParameter, InvalidRequest, InvalidAudio, FileTooLarge."""
    param = fields[0]
    files = [file for file in form.files if file.field in fields]
    if len(files) > 1:
        raise errors.InvalidRequest("more than one recording was sent", param=param)
    if not files:
        if any(name in fields for name, _ in form.fields):
            raise errors.InvalidRequest(f"'{param}' was sent as text; send it as a file part", param=param)
        raise errors.MissingParameter(f"the recording '{param}' is missing; send it as a file part", param=param)
    if files[0].size > MAX_BYTES:
        raise too_large(param=param)
    if files[0].size == 0:
        raise errors.InvalidAudio("the recording is empty", param=param)
    return files[0]


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object of a body. Raises UnsupportedMediaType, FileTooLarge, InvalidRequest."""
    if media_type(request) not in {"application/json", ""}:
        raise errors.UnsupportedMediaType("send the request as application/json")
    data = parse_json(await read_limited(request, MAX_JSON_BYTES))
    if not isinstance(data, dict):
        raise errors.InvalidRequest("the body must be a JSON object")
    return data


async def read_name(request: Request) -> str:
    """Return the `name` of a JSON body. Raises what `read_object` raises, MissingParameter, InvalidRequest."""
    name = (await read_object(request)).get("name")
    if name is None or name == "":
        raise errors.MissingParameter("the parameter 'name' is required", param="name")
    if not isinstance(name, str):
        raise errors.InvalidRequest("invalid value for 'name': it must be a string", param="name")
    return name


def media_type(request: Request) -> str:
    """Return what a body is said to be, without the parameters; "" when nothing is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_limited(request: Request, max_bytes: int) -> bytes:
    """Return a body of at most `max_bytes`; FileTooLarge for a larger one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large("the body", max_bytes)
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Return what a JSON text in UTF-8, UTF-16 or UTF-32 says; InvalidRequest when it is none."""
    try:
        return orjson.loads(body.decode(json.detect_encoding(body)))
    except (orjson.JSONDecodeError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest("the body is not valid JSON") from error


def too_large(
    what: str = "the recording", max_bytes: int = MAX_BYTES, *, param: str | None = None
) -> errors.FileTooLarge:
    """Return the error for what has more than `max_bytes`."""
    return errors.FileTooLarge(f"{what} is larger than {max_bytes >> 20} MiB", param=param)
