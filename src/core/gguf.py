"""What the header of a ggml or GGUF file says; the weights behind it are never read."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

ARCHITECTURE = "general.architecture"
_MAGIC = b"GGUF"
_GGML_MAGIC = b"lmgg"  # 0x67676d6c, the older format that whisper.cpp's converter writes
_VERSIONS = (2, 3)
_MOST_KEYS = 1 << 16
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_NESTED = 4
_WHISPER_WORDS = range(51_000, 52_000)


class BrokenHeader(ValueError):
    """The file is no GGUF file, or its header is damaged."""


def read(path: Path, *, wanted: Collection[str] = ()) -> dict[str, Any]:
    """Return the numbers, truth values and texts of a GGUF file's header by key; lists are left out.

    Reading stops once all of `wanted` are found, where any are named. Raises BrokenHeader and OSError.
    """
    with path.open("rb") as file:
        header = _Header(file)
        if header.take(4) != _MAGIC:
            raise BrokenHeader(f"{path.name} is not a GGUF file")
        if (version := header.number("I")) not in _VERSIONS:
            raise BrokenHeader(f"{path.name} is of GGUF version {version}; {_VERSIONS} can be read")
        header.number("Q")  # tensors
        count = header.number("Q")
        if count > _MOST_KEYS:
            raise BrokenHeader(f"{path.name} claims to have {count} keys")
        found: dict[str, Any] = {}
        for _ in range(count):
            key, kind = header.text(), header.number("I")
            if kind == _ARRAY:
                header.skip_list()
            else:
                found[key] = header.value(kind)
            if wanted and found.keys() >= set(wanted):
                break
        return found


def architecture(path: Path) -> str | None:
    """Return `general.architecture` of a GGUF file, None for every other file and for a damaged one."""
    try:
        name = read(path, wanted=(ARCHITECTURE,)).get(ARCHITECTURE)
    except (OSError, BrokenHeader):
        return None
    return name if isinstance(name, str) and name else None


def whisper_words(path: Path) -> int | None:
    """Return the size of the vocabulary of a Whisper in ggml's older format, None for every other file."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return None
    if len(head) < 8 or not head.startswith(_GGML_MAGIC):  # noqa: PLR2004 - the magic and the first number
        return None
    (words,) = struct.unpack("<i", head[4:])
    return words if words in _WHISPER_WORDS else None


class _Header:
    """Reads a header's fields one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def take(self, size: int) -> bytes:
        self._check(size)
        return self._file.read(size)

    def number(self, code: str) -> Any:
        (found,) = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))
        return found

    def text(self) -> str:
        try:
            return self.take(self.number("Q")).decode()
        except UnicodeDecodeError as error:
            raise BrokenHeader("a text of the header is not UTF-8") from error

    def value(self, kind: int) -> Any:
        return self.text() if kind == _STRING else self.number(_code(kind))

    def skip_list(self, depth: int = 0) -> None:
        kind, count = self.number("I"), self.number("Q")
        if depth > _MOST_NESTED:
            raise BrokenHeader("lists inside lists inside lists")
        if kind not in {_STRING, _ARRAY}:
            self._skip(struct.calcsize(_code(kind)) * count)
            return
        self._check(count * 8)  # each of them has a length at least
        for _ in range(count):
            if kind == _STRING:
                self._skip(self.number("Q"))
            else:
                self.skip_list(depth + 1)

    def _skip(self, size: int) -> None:
        self._check(size)
        self._file.seek(size, os.SEEK_CUR)

    def _check(self, size: int) -> None:
        if self._file.tell() + size > self._size:
            raise BrokenHeader("the file ends inside its header")


def _code(kind: int) -> str:
    try:
        return _SCALARS[kind]
    except KeyError:
        raise BrokenHeader(f"a value of the header is of the unknown kind {kind}") from None
