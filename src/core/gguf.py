"""What the header of a ggml or GGUF file says, and whether all of its weights are there; they are never read."""

from __future__ import annotations

import math
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
_ALIGNMENT = "general.alignment"
_MOST_DIMENSIONS = 4
_MOST = 1 << 20
"""More tensors, or more numbers in one direction of a Whisper, has no model."""
# Numbers of a block and its bytes, by the kind that a tensor has.
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
}


class BrokenHeader(ValueError):
    """The file is no GGUF file, or its header is damaged."""


def read(path: Path, *, wanted: Collection[str] = ()) -> dict[str, Any]:
    """Return the numbers, truth values and texts of a GGUF file's header by key; lists are left out.

    Reading stops once all of `wanted` are found, where any are named. Raises BrokenHeader and OSError.
    """
    with path.open("rb") as file:
        return _keys(_Header(file), path.name, wanted)[1]


def check(path: Path) -> None:
    """Raise BrokenHeader unless the file is GGUF, or a Whisper in the older format, and ends where its weights do.

    Libraries of ggml end their process at some files that are cut short. Raises OSError too.
    """
    with path.open("rb") as file:
        header = _Header(file)
        if header.take(4) == _GGML_MAGIC:
            _check_whisper(header)
        else:
            header.go(0)
            _check_tensors(header, path.name)


def is_ggml(path: Path) -> bool:
    """Return whether a file is of ggml's older format, in which whisper.cpp's converter writes."""
    with path.open("rb") as file:
        return file.read(4) == _GGML_MAGIC


def _keys(header: _Header, name: str, wanted: Collection[str] = ()) -> tuple[int, dict[str, Any]]:
    """Return the number of tensors, and the keys up to all that are wanted."""
    if header.take(4) != _MAGIC:
        raise BrokenHeader(f"{name} is not a GGUF file")
    if (version := header.number("I")) not in _VERSIONS:
        raise BrokenHeader(f"{name} is of GGUF version {version}; {_VERSIONS} can be read")
    tensors, count = header.number("Q"), header.number("Q")
    if count > _MOST_KEYS or tensors > _MOST:
        raise BrokenHeader(f"{name} claims to have {count} keys and {tensors} tensors")
    found: dict[str, Any] = {}
    for _ in range(count):
        key, kind = header.text(), header.number("I")
        if kind == _ARRAY:
            header.skip_list()
        else:
            found[key] = header.value(kind)
        if wanted and found.keys() >= set(wanted):
            break
    return tensors, found


def _check_tensors(header: _Header, name: str) -> None:
    count, keys = _keys(header, name)
    end = 0
    for _ in range(count):
        header.text()
        shape = header.shape("Q", header.number("I"))
        kind, place = header.number("I"), header.number("Q")
        end = max(end, place + (_bytes(shape, kind) or 0))  # of kinds that came later only the beginning is known
    alignment = keys.get(_ALIGNMENT, 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise BrokenHeader(f"{_ALIGNMENT} is {alignment}")
    start = -(-header.place // alignment) * alignment
    if count and start + end > header.size:
        raise BrokenHeader(f"the file ends {start + end - header.size} bytes before its weights do")


def _check_whisper(header: _Header) -> None:
    sizes = [header.number("i") for _ in range(11)]
    if sizes[0] not in _WHISPER_WORDS or not all(0 < size < _MOST for size in sizes[:10]):
        raise BrokenHeader("it is no Whisper, or its sizes are damaged")
    header.skip(4 * header.number("I") * header.number("I"))  # the spectrogram's filters
    for _ in range(header.number("I")):
        header.skip(header.number("I"))
    while header.place < header.size:
        dimensions, name, kind = (header.number("i") for _ in range(3))
        size = _bytes(header.shape("i", dimensions), kind)
        if size is None or name < 0:
            raise BrokenHeader("the list of its weights is damaged")
        header.skip(name + size)


def _bytes(shape: tuple[int, ...], kind: int) -> int | None:
    """Return the size of a tensor, None for a kind that is not known."""
    numbers, size = _BLOCKS.get(kind, (1, 0))
    return math.prod(shape) // numbers * size if size else None


def architecture(path: Path) -> str | None:
    """Return `general.architecture` of a GGUF file, None for every other file and for a damaged one."""
    try:
        name = read(path, wanted=(ARCHITECTURE,)).get(ARCHITECTURE)
    except (OSError, BrokenHeader):
        return None
    return name if isinstance(name, str) and name else None


def piper_voice(path: Path) -> tuple[str, int] | None:
    """Return the language (ISO 639) and the sample rate in Hz of a Piper voice, None for every other file."""
    wanted = ("piper.espeak_voice", "piper.sample_rate")
    try:
        found = read(path, wanted=wanted)
    except (OSError, BrokenHeader):
        return None
    voice, rate = (found.get(key) for key in wanted)
    return (voice.partition("-")[0], rate) if isinstance(voice, str) and isinstance(rate, int) else None


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
        self.size = os.fstat(file.fileno()).st_size

    @property
    def place(self) -> int:
        return self._file.tell()

    def go(self, place: int) -> None:
        self._file.seek(place)

    def shape(self, code: str, dimensions: int) -> tuple[int, ...]:
        if not 0 <= dimensions <= _MOST_DIMENSIONS:
            raise BrokenHeader(f"a tensor of {dimensions} dimensions")
        found = tuple(self.number(code) for _ in range(dimensions))
        if any(size < 1 for size in found):
            raise BrokenHeader(f"a tensor of the shape {found}")
        return found

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
            self.skip(struct.calcsize(_code(kind)) * count)
            return
        self._check(count * 8)  # each of them has a length at least
        for _ in range(count):
            if kind == _STRING:
                self.skip(self.number("Q"))
            else:
                self.skip_list(depth + 1)

    def skip(self, size: int) -> None:
        self._check(size)
        self._file.seek(size, os.SEEK_CUR)

    def _check(self, size: int) -> None:
        if self._file.tell() + size > self.size:
            raise BrokenHeader("the file ends inside its header")


def _code(kind: int) -> str:
    try:
        return _SCALARS[kind]
    except KeyError:
        raise BrokenHeader(f"a value of the header is of the unknown kind {kind}") from None
