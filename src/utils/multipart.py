"""Reads a form off the wire: text fields into memory, files straight to disk, in whatever chunks it comes.

Starlette's own parser spools every file through memory, hops to a thread for each write and stops at 1 MiB per field.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from utils.forms import Form, UploadedFile

__all__ = ["BodyTooLarge", "Form", "MultipartError", "UploadedFile", "read_form"]

_BATCH_BYTES = 1 << 20
_CONTENT_TYPE_CHARS = 1000
_BOUNDARY = re.compile(rb"[\x20-\x7e]{1,256}")
_QUOTED = re.compile(r'"[^"]*"')
_TEXT_TYPES = ("text/", "application/json", "application/x-www-form-urlencoded")


class MultipartError(ValueError):
    """The body is not the form it claims to be, or has more parts than allowed; the message is fit for a client."""


class BodyTooLarge(Exception):
    """The body has more than `max_bytes` bytes."""


async def read_form(
    stream: AsyncIterator[bytes],
    content_type: str,
    directory: Path,
    *,
    max_bytes: int,
    max_field_bytes: int = 32 << 20,
    max_fields: int = 1000,
    max_files: int = 8,
) -> Form:
    """Read a multipart or urlencoded body and write its files into `directory`, under names of our own.

    `max_bytes` bounds the body, `max_field_bytes` all text fields together. Raises MultipartError, BodyTooLarge, and
    OSError when the disk is full. Whatever happens, the directory and what lies in it stay the caller's, and nothing
    writes there any more once this has returned or raised.
    """
    kind, boundary = _content_type(content_type)
    limits = _Limits(max_field_bytes, max_fields, max_files)
    if kind == "application/x-www-form-urlencoded":
        return await _read_urlencoded(stream, limits, max_bytes)
    if kind != "multipart/form-data":
        raise MultipartError("the body must be multipart/form-data or application/x-www-form-urlencoded")
    collector = _Collector(directory, limits)
    parser = _parser(boundary, collector)
    received = 0
    async for chunk in stream:
        received = _count(received, chunk, max_bytes)
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise MultipartError(f"malformed multipart body: {error}") from error
        if collector.waiting >= _BATCH_BYTES:
            await _in_thread(collector.flush)
    if not collector.complete:
        raise MultipartError("the multipart body ends before its last boundary")
    await _in_thread(collector.flush)
    return collector.form()


@dataclass(frozen=True, slots=True)
class _Limits:
    field_bytes: int
    fields: int
    files: int


@dataclass(slots=True)
class _Part:
    """A text field; or the base of a file, whose bytes wait in `buffer` for the next batch of writes."""

    name: str
    buffer: bytearray = field(default_factory=bytearray)


@dataclass(slots=True, kw_only=True)
class _File(_Part):
    filename: str
    content_type: str
    path: Path
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def flush(self) -> None:
        # Opened for each batch: a form that is given up half-way leaves no open file behind.
        with self.path.open("ab") as file:
            file.write(self.buffer)
        self.digest.update(self.buffer)
        self.size += len(self.buffer)
        self.buffer.clear()

    def uploaded(self) -> UploadedFile:
        return UploadedFile(
            field=self.name,
            filename=self.filename,
            content_type=self.content_type,
            path=self.path,
            size=self.size,
            sha256=self.digest.hexdigest(),
        )


class _Collector:
    """The parser's callbacks. They run on the event loop and never touch the disk; `flush` does, in a thread."""

    def __init__(self, directory: Path, limits: _Limits) -> None:
        self.complete = False
        self.waiting = 0
        self._directory = directory
        self._limits = limits
        self._fields: list[_Part] = []
        self._files: list[_File] = []
        self._settled = 0
        self._field_bytes = 0
        self._headers: dict[str, str] = {}
        self._header = (bytearray(), bytearray())
        self._part = _Part("")

    def on_part_begin(self) -> None:
        self._headers = {}

    def on_header_begin(self) -> None:
        self._header = (bytearray(), bytearray())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        key, value = (bytes(part).decode("latin-1") for part in self._header)
        self._headers[key.lower()] = value

    def on_headers_finished(self) -> None:
        name, filename, content_type = _describe(self._headers)
        if filename is None:
            self._part = _Part(name)
            self._fields.append(self._part)
        else:
            path = self._directory / f"upload-{len(self._files)}"
            self._part = new = _File(name, filename=filename, content_type=content_type, path=path)
            self._files.append(new)
        if len(self._fields) > self._limits.fields:
            raise MultipartError(f"the form has more than {self._limits.fields} fields")
        if len(self._files) > self._limits.files:
            raise MultipartError(f"the form has more than {self._limits.files} files")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._part.buffer += memoryview(data)[start:end]
        if isinstance(self._part, _File):
            self.waiting += end - start
            return
        self._field_bytes += end - start
        if self._field_bytes > self._limits.field_bytes:
            raise MultipartError(f"the fields of the form hold more than {self._limits.field_bytes} bytes")

    def on_end(self) -> None:
        self.complete = True

    def flush(self) -> None:
        """Write what waits. Blocks; the caller feeds the parser nothing meanwhile."""
        for file in self._files[self._settled :]:
            file.flush()
        self._settled = max(0, len(self._files) - 1)  # the last one may still grow
        self.waiting = 0

    def form(self) -> Form:
        """Return what was read; only after the last `flush`."""
        fields = [(part.name, _utf8(part.buffer, part.name)) for part in self._fields]
        return Form(fields, [file.uploaded() for file in self._files])


def _parser(boundary: bytes, collector: _Collector) -> MultipartParser:
    if not _BOUNDARY.fullmatch(boundary):
        raise MultipartError("the content type has no usable boundary of 1 to 256 characters")
    return MultipartParser(
        boundary,
        {
            "on_part_begin": collector.on_part_begin,
            "on_header_begin": collector.on_header_begin,
            "on_header_field": collector.on_header_field,
            "on_header_value": collector.on_header_value,
            "on_header_end": collector.on_header_end,
            "on_headers_finished": collector.on_headers_finished,
            "on_part_data": collector.on_part_data,
            "on_end": collector.on_end,
        },
    )


def _content_type(value: str) -> tuple[str, bytes]:
    if len(value) > _CONTENT_TYPE_CHARS or not value.isascii():
        raise MultipartError("the content type is too long or not ASCII")
    kind, options = parse_options_header(value)
    return kind.decode("ascii").strip(), options.get(b"boundary", b"")


def _describe(headers: dict[str, str]) -> tuple[str, str | None, str]:
    """Return name, file name (None: a text field) and content type of a part.

    A part is a file when it has a file name, even an empty one, or a type that no text has: some clients send audio
    without a name, others (Bazarr) without a type.
    """
    disposition = headers.get("content-disposition", "")
    kind, options = parse_options_header(disposition)
    if kind != b"form-data" or b"name" not in options:
        raise MultipartError("a part of the form has no name")
    name = options[b"name"].decode("utf-8", "replace")
    content_type = headers.get("content-type", "")
    if b"filename" in options:
        return name, options[b"filename"].decode("utf-8", "replace"), content_type
    # `filename*` is forbidden in forms (RFC 7578) and not parsed, but old clients mean a file by it.
    named = "filename*=" in _QUOTED.sub("", disposition).lower()
    binary = bool(content_type) and not content_type.lower().startswith(_TEXT_TYPES)
    return name, "" if named or binary else None, content_type


def _utf8(data: bytes | bytearray, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MultipartError(f"the field {name[:100]!a} is not UTF-8 text") from error


async def _read_urlencoded(stream: AsyncIterator[bytes], limits: _Limits, max_bytes: int) -> Form:
    body = bytearray()
    async for chunk in stream:
        _count(len(body), chunk, max_bytes)
        body += chunk
        if len(body) > limits.field_bytes:
            raise MultipartError(f"the fields of the form hold more than {limits.field_bytes} bytes")
    text = _utf8(body, "body")
    try:
        return Form(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=limits.fields))
    except ValueError as error:  # too many fields, or percent-encoded bytes that are no UTF-8
        raise MultipartError("the urlencoded body has too many fields or is not UTF-8") from error


def _count(received: int, chunk: bytes, max_bytes: int) -> int:
    if received + len(chunk) > max_bytes:
        raise BodyTooLarge(f"the body has more than {max_bytes} bytes")
    return received + len(chunk)


async def _in_thread(work: Callable[[], None]) -> None:
    """Run blocking `work` in a thread and stay until it has ended, cancelled or not: the caller removes the folder."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # or asyncio complains that nobody looked at it
        raise
