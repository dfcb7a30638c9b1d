"""A transcription request as JSON: the same fields as the form, and the audio as base64."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import orjson
from fastapi import Request

from core import errors
from core.body_limit import check_declared, too_large
from utils.data_url import encoded_file
from utils.forms import Form, UploadedFile
from utils.uploads import BATCH_BYTES, ArrivingFile, BodyTooLarge, in_thread, read_file

MAX_BYTES: Final = 64 << 20
"""Parsing JSON takes a few times its size in memory; larger recordings belong in a form."""
MAX_VALUES: Final = 100_000
"""Each of the small values in a body takes up to a hundred bytes when it is parsed."""
_MAX_FIELDS = 1000
_INPUT_AUDIO = "input_audio"
_ADVICE = " as JSON; send a larger recording as multipart/form-data"


async def read(
    request: Request, folder: Path, *, max_bytes: int, file_fields: Collection[str], parsers: asyncio.Semaphore
) -> Form:
    """Read a JSON body as the form it stands for; its audio is written into `folder` as the file `file`.

    The body goes to disk as it comes, and `parsers` bounds how many are in memory at once. Raises InvalidRequest for
    what is no JSON object or no base64, FileTooLarge, and OSError when the disk is full.
    """
    body = await receive(request, folder, max_bytes=max_bytes)
    async with parsers:
        return await in_thread(lambda: parse(body, folder, file_fields))


async def receive(request: Request, folder: Path, *, max_bytes: int) -> Path:
    """Write the body into `folder` as it comes. Raises FileTooLarge, and OSError when the disk is full."""
    limit = min(max_bytes, MAX_BYTES)
    check_declared(request.headers.get("content-length"), limit, advice=_ADVICE)
    try:
        body = await read_file(request.stream(), ArrivingFile(folder / "body", field=""), max_bytes=limit)
    except BodyTooLarge as error:
        raise too_large(limit, advice=_ADVICE) from error
    return body.path


def parse(body: Path, folder: Path, file_fields: Collection[str]) -> Form:
    """Return the form that a JSON body stands for, and remove the body; see `read`. Blocks."""
    form = Form()
    for name, value in _loaded(body).items():
        if name == _INPUT_AUDIO or name in file_fields:
            if value:
                form.files.append(_file(name, value, form, folder))
        elif value is not None:
            form.fields.append((name, _text(name, value)))
    return form


def _loaded(body: Path) -> dict[str, Any]:
    """Parse a file without reading it into memory first, and remove it."""
    if not body.stat().st_size:
        raise errors.InvalidRequest("the JSON body is empty")
    with body.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        body.unlink()
        _check_values(content)
        with memoryview(content) as view:
            loaded = _parsed(view)
    if not isinstance(loaded, dict):
        raise errors.InvalidRequest("the JSON body must be an object")
    if len(loaded) > _MAX_FIELDS:
        raise errors.InvalidRequest(f"the JSON body has more than {_MAX_FIELDS} fields")
    return loaded


def _parsed(content: memoryview) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        problem = str(error)
    # Out here, because the error would bring the whole document with it.
    raise errors.InvalidRequest(f"the JSON body is malformed: {problem}")


def _check_values(content: mmap.mmap) -> None:
    """Raise InvalidRequest for a body of countless small values."""
    count = 0
    for at in range(0, len(content), BATCH_BYTES):
        piece = content[at : at + BATCH_BYTES]
        count += sum(piece.count(mark) for mark in (b",", b"[", b"{"))
        if count > MAX_VALUES:
            raise errors.InvalidRequest(f"the JSON body has more than {MAX_VALUES} values")


def _text(name: str, value: Any) -> str:
    """Return a JSON value as a form would spell it; lists and objects stay JSON, which a form may hold."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:  # less deep than what it reads
        raise errors.InvalidRequest(f"{name!r} is nested too deeply", param=name) from error


def _file(name: str, value: Any, form: Form, folder: Path) -> UploadedFile:
    if isinstance(value, dict):
        kind = value.get("format")
        if isinstance(kind, str) and kind:
            form.fields.append(("format", kind))
        value = value.get("data")
    if not isinstance(value, str):
        raise errors.InvalidRequest(f"{name!r} must hold the audio as base64 or as a data URL", param=name)
    try:
        encoded = encoded_file(value)
        file = ArrivingFile(folder / f"upload-{len(form.files)}", field="file", content_type=encoded.content_type)
        for piece in encoded.pieces():
            file.buffer += piece
            file.flush()
    except ValueError as error:
        raise errors.InvalidRequest(f"{name!r} cannot be read: {error}", param=name) from error
    return file.uploaded()
