"""Reads a form off the wire: text fields into memory, files straight to disk, in whatever chunks it comes.

Starlette's own parser spools every file through memory, hops to a thread for each write and stops at 1 MiB per field.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from utils.forms import Form
from utils.uploads import BATCH_BYTES, ArrivingFile, BodyTooLarge, UploadedFile, count, in_thread

__all__ = ["BodyTooLarge", "Form", "MultipartError", "UploadedFile", "read_form"]

_PREAMBLE_BYTES = 64 << 10
_URLENCODED_BYTES = 1 << 20
"""Reading a form of this kind takes a hundred times its size; large values belong in a multipart body."""
_AT_ONCE_BYTES = 4 << 10
"""So much is read in less than a millisecond."""
_CONTENT_TYPE_CHARS = 1000
_NAME_CHARS = 100
_BOUNDARY = re.compile(rb"[\x20-\x7e]{1,256}")
_QUOTED = re.compile(r'"[^"]*"')
_TEXT_TYPES = ("text/", "application/json", "application/x-www-form-urlencoded")


class MultipartError(ValueError):
    """The body is not the form it claims to be, or has more parts than allowed; the message is fit for a client.

    `field` is the name of the field that is wrong, None where it is not one.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


async def read_form(
    stream: AsyncIterator[bytes],
    content_type: str,
    directory: Path,
    *,
    max_bytes: int,
    max_field_bytes: int = 32 << 20,
    max_fields: int = 1000,
    max_files: int = 8,
    file_fields: Collection[str] = (),
) -> Form:
    """Read a multipart or urlencoded body and write its files into `directory`, under names of our own.

    `max_bytes` bounds the body, `max_field_bytes` all text fields together; an urlencoded body may have 1 MiB. A part
    named in `file_fields` is a file even if nothing else says so. Raises MultipartError, BodyTooLarge, and OSError
    when the disk is full. Whatever happens, the directory and what lies in it stay the caller's, and nothing
    writes there any more once this has returned or raised.
    """
    kind, boundary = _content_type(content_type)
    limits = _Limits(max_field_bytes, max_fields, max_files)
    if kind == "application/x-www-form-urlencoded":
        return await _read_urlencoded(stream, limits, max_bytes)
    if kind != "multipart/form-data":
        raise MultipartError("the body must be multipart/form-data or application/x-www-form-urlencoded")
    collector = _Collector(directory, limits, file_fields)
    parser = _Parser(boundary, collector)
    received = 0
    async for chunk in stream:
        received = count(received, chunk, max_bytes)
        parser.feed(chunk)
        if collector.waiting >= BATCH_BYTES:
            await in_thread(collector.flush)
    if not collector.complete:
        raise MultipartError("the multipart body ends before its last boundary")
    return await in_thread(collector.form)


@dataclass(frozen=True, slots=True)
class _Limits:
    field_bytes: int
    fields: int
    files: int


@dataclass(slots=True)
class _Part:
    """A text field."""

    name: str
    buffer: bytearray = field(default_factory=bytearray)


class _Collector:
    """The parser's callbacks, on the event loop. They never touch the disk; `flush` and `form` do, in a thread."""

    def __init__(self, directory: Path, limits: _Limits, file_fields: Collection[str]) -> None:
        self.complete = False
        self.waiting = 0
        self._directory = directory
        self._limits = limits
        self._file_fields = file_fields
        self._fields: list[_Part] = []
        self._files: list[ArrivingFile] = []
        self._settled = 0
        self._field_bytes = 0
        self._headers: dict[str, str] = {}
        self._header = (bytearray(), bytearray())
        self._part: _Part | ArrivingFile = _Part("")

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
        if filename is None and (content_type or name not in self._file_fields):
            self._part = text = _Part(name)
            self._fields.append(text)
        else:
            path = self._directory / f"upload-{len(self._files)}"
            file = ArrivingFile(path, field=name, filename=filename or "", content_type=content_type)
            self._part = file
            self._files.append(file)
        if len(self._fields) > self._limits.fields:
            raise MultipartError(f"the form has more than {self._limits.fields} fields")
        if len(self._files) > self._limits.files:
            raise MultipartError(f"the form has more than {self._limits.files} files")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._part.buffer += memoryview(data)[start:end]
        if isinstance(self._part, ArrivingFile):
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
        """Write what waits and return what was read. Blocks."""
        fields = [(part.name, _value(part)) for part in self._fields]
        return Form(fields, [file.uploaded() for file in self._files])


class _Parser:
    """Feeds the library's parser, which knows no preamble and logs every oddity of every client."""

    def __init__(self, boundary: bytes, collector: _Collector) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise MultipartError("the content type has no usable boundary of 1 to 256 characters")
        self._delimiter = b"--" + boundary
        self._preamble: bytearray | None = bytearray()
        self._parser = _library_parser(boundary, collector)
        self._parser.logger = logging.Logger("multipart", logging.CRITICAL)  # noqa: LOG001 - one that nobody hears

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes. Raises MultipartError."""
        if self._preamble is not None:
            self._preamble += chunk
            chunk = self._without_preamble(self._preamble)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MultipartError(f"malformed multipart body: {error}") from error

    def _without_preamble(self, head: bytearray) -> bytes:
        """Return what begins with the first boundary, which is at the start of a line; nothing until it has come."""
        at = 0 if head.startswith(self._delimiter) else head.find(b"\n" + self._delimiter) + 1
        if at or head.startswith(self._delimiter):
            self._preamble = None
            return bytes(head[at:])
        if len(head) > _PREAMBLE_BYTES:
            raise MultipartError("malformed multipart body: it does not begin with its boundary")
        return b""


def _library_parser(boundary: bytes, collector: _Collector) -> MultipartParser:
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


def _value(part: _Part) -> str:
    try:
        return part.buffer.decode()
    except UnicodeDecodeError as error:
        name = part.name[:_NAME_CHARS]
        raise MultipartError(f"the field {name!a} is not UTF-8 text", field=name.partition("[")[0]) from error


async def _read_urlencoded(stream: AsyncIterator[bytes], limits: _Limits, max_bytes: int) -> Form:
    body = bytearray()
    async for chunk in stream:
        count(len(body), chunk, max_bytes)
        body += chunk
        if len(body) > min(limits.field_bytes, _URLENCODED_BYTES):
            raise MultipartError("the urlencoded form is too large; send the fields as multipart/form-data")
    if len(body) <= _AT_ONCE_BYTES:
        return _urlencoded(body, limits)
    return await in_thread(lambda: _urlencoded(body, limits))


def _urlencoded(body: bytearray, limits: _Limits) -> Form:
    try:
        text = body.decode()
        return Form(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=limits.fields))
    except ValueError as error:  # too many fields, or percent-encoded bytes that are no UTF-8
        raise MultipartError("the urlencoded body has too many fields or is not UTF-8") from error
