"""Reading a speech request: JSON or a form, with or without a recording to clone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from core import errors
from core.body_limit import reading
from core.spool import Spool, storage_error
from tts.api.uploads import media_type, parse_json, read_limited, too_large
from tts.samples import MAX_BYTES
from utils.data_url import encoded_file
from utils.forms import Form
from utils.multipart import read_form

MAX_BODY_BYTES = 16 << 20
REFERENCE_FIELDS = ("reference_audio", "ref_audio")
_FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body: its fields, and the file that was sent as the recording, in the request's `folder`."""

    data: Any
    reference: Path | None = None


async def read_body(request: Request, spool: Spool, stack: AsyncExitStack) -> Body:
    """Read a JSON object or a form; the folder of its files lives as long as `stack`.

    Raises InvalidRequest for what cannot be decoded, FileTooLarge, UnsupportedMediaType, InsufficientStorage.
    """
    kind = media_type(request)
    if kind in _FORMS:
        return await _read_fields(request, await stack.enter_async_context(spool.folder()))
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise errors.UnsupportedMediaType("send the request as application/json or as a form")
    return Body(await asyncio.to_thread(parse_json, await read_limited(request, MAX_BODY_BYTES)))


async def reference_file(given: str, spool: Spool, stack: AsyncExitStack) -> Path:
    """Write a recording that was sent as a data URL, or as bare base64, to a file that lives as long as `stack`.

    Raises InvalidRequest, FileTooLarge, InsufficientStorage.
    """
    folder = await stack.enter_async_context(spool.folder())
    try:
        return await asyncio.to_thread(_write, given, folder / "reference")
    except OSError as error:
        raise storage_error(error) from error


async def _read_fields(request: Request, folder: Path) -> Body:
    kind = request.headers["content-type"]
    with reading(too_large("the body", MAX_BODY_BYTES)):
        form = await read_form(request.stream(), kind, folder, max_bytes=MAX_BODY_BYTES, file_fields=REFERENCE_FIELDS)
    # A browser sends an unused file input as a part without content and without a name.
    files = [file for file in form.files if file.field in REFERENCE_FIELDS and (file.size or file.filename)]
    for file in files:
        if file.size > MAX_BYTES:
            raise too_large(param=REFERENCE_FIELDS[0])
    return Body(await asyncio.to_thread(_data, form), files[-1].path if files else None)


def _data(form: Form) -> dict[str, Any]:
    """Return the fields as JSON would have them; a voice may be an object here, too."""
    found: dict[str, Any] = dict(form.fields)
    voice = form.scalar("voice")
    if voice is None or voice.lstrip().startswith("{"):
        try:
            found["voice"] = form.mapping("voice")
        except ValueError as error:
            told = "invalid value for 'voice': send a name, or an object with an id"
            raise errors.InvalidRequest(told, param="voice") from error
    return found


def _write(given: str, target: Path) -> Path:
    try:
        encoded = encoded_file(given)
        if (len(given) - encoded.start) * 3 // 4 > MAX_BYTES + 2:
            raise too_large(param=REFERENCE_FIELDS[0])
        with target.open("wb") as file:
            file.writelines(encoded.pieces())
    except ValueError as error:
        raise _not_base64() from error
    return target


def _not_base64() -> errors.InvalidRequest:
    return errors.InvalidRequest(
        "reference_audio must be a recording as a data URL (data:audio/wav;base64,...)", param=REFERENCE_FIELDS[0]
    )
