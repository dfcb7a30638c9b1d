"""Writes shared libraries as small as they can be: exported data, no code."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

ADDRESS = 0x4000
"""Where the exported data lies in memory, which is not where it lies in the file."""
HEADER, SECTION, SYMBOL = 64, 64, 24
DATA = 1
"""The number of the section that holds the data."""
_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_SHARED, _X86_64 = 3, 62
_PROGRAM_DATA, _STRINGS, _NOTHING_STORED, _DYNAMIC_SYMBOLS, _LOADED = 1, 3, 8, 11, 2
_GLOBAL_OBJECT = 0x11


def library(exports: Mapping[str, bytes], *, wanted: Sequence[str] = (), ident: bytes = _ELF64_LITTLE_ENDIAN) -> bytes:
    """Return a library that exports objects under these names, and wants others from elsewhere."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*wanted, *exports))
    symbols = bytes(SYMBOL)
    for name in wanted:
        symbols += struct.pack("<IBBHQQ", _place(names, name), _GLOBAL_OBJECT, 0, 0, 0, 0)
    data = b""
    for name, content in exports.items():
        place = (_place(names, name), _GLOBAL_OBJECT, 0, DATA, ADDRESS + len(data), len(content))
        symbols += struct.pack("<IBBHQQ", *place)
        data += content
    first, second = HEADER + len(data), HEADER + len(data) + len(names)
    table = second + len(symbols)
    sections = [
        (0, 0, 0, 0, 0, 0),
        (_PROGRAM_DATA, _LOADED, ADDRESS, HEADER, len(data), 0),
        (_NOTHING_STORED, _LOADED, ADDRESS + len(data), first, 1 << 40, 0),
        (_STRINGS, _LOADED, 0x1000, first, len(names), 0),
        (_DYNAMIC_SYMBOLS, _LOADED, 0x2000, second, len(symbols), 3),
    ]
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", _SHARED, _X86_64, 1, 0, 0, table, 0, HEADER, 0, 0, SECTION, len(sections), 0
    )
    return header + data + names + symbols + b"".join(struct.pack("<IIQQQQIIQQ", 0, *s, 0, 1, 0) for s in sections)


def _place(names: bytes, name: str) -> int:
    return names.index(b"\0" + name.encode() + b"\0") + 1
