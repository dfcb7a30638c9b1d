"""The wire between the API process and a worker: length-prefixed frames of JSON and raw bytes over a socket pair.

A frame is two big-endian u32 (length of the JSON, length of the body), the JSON object, the body.
JSON and not pickle: a worker that a hostile file took over must not be able to run code in the API process.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

_HEAD = struct.Struct("!II")
MAX_JSON_BYTES = 64 << 20
MAX_BODY_BYTES = 512 << 20


class BrokenFrame(Exception):
    """The other side wrote something that is not a frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: what it is (`kind`), which call it belongs to (0: none), and its content."""

    kind: str
    call: int = 0
    data: Any = None
    body: bytes = b""


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame; dataclasses and numpy scalars in `data` become plain JSON."""
    head = {"kind": frame.kind, "call": frame.call, "data": frame.data}
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
    return _HEAD.pack(len(text), len(frame.body)) + text + frame.body


def _lengths(head: bytes) -> tuple[int, int]:
    json_bytes, body_bytes = _HEAD.unpack(head)
    if json_bytes > MAX_JSON_BYTES or body_bytes > MAX_BODY_BYTES:
        raise BrokenFrame(f"frame of {json_bytes}+{body_bytes} bytes")
    return json_bytes, body_bytes


def _decode(text: bytes, body: bytes) -> Frame:
    try:
        head = orjson.loads(text)
        return Frame(kind=str(head["kind"]), call=int(head["call"]), data=head["data"], body=body)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BrokenFrame("frame is not a JSON object of ours") from error


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """Return the next frame, None at a clean end; BrokenFrame for anything else."""
    try:
        head = await reader.readexactly(_HEAD.size)
        json_bytes, body_bytes = _lengths(head)
        text = await reader.readexactly(json_bytes)
        body = await reader.readexactly(body_bytes) if body_bytes else b""
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BrokenFrame("half a frame") from error
        return None
    except ConnectionError:
        return None
    return _decode(text, body)


def read_frame_blocking(file: BinaryIO) -> Frame | None:
    """Return the next frame from a blocking file, None when the other side is gone."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    json_bytes, body_bytes = _lengths(head)
    text, body = file.read(json_bytes), file.read(body_bytes)
    if len(text) < json_bytes or len(body) < body_bytes:
        return None
    return _decode(text, body)
