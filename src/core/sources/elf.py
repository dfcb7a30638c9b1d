"""Data that a shared library exports under a name, read out of its bytes; nothing of the library is loaded or run.

ELF as in https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html: 64 bits, little endian, with section headers.
Nothing is trusted: what a file says of places and sizes is compared with its length first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_IDENT = b"\x7fELF\x02\x01"  # 64 bits, little endian
_STRINGS, _NOTHING_STORED, _DYNAMIC_SYMBOLS = 3, 8, 11
_IN_MEMORY = 2
_UNDEFINED = 0


class BadLibrary(ValueError):
    """The file is no shared library of the kind that can be read, or it is damaged."""


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int

    def holds(self, address: int, size: int) -> bool:
        """Tell whether bytes at an address of the running program are in this part of the file."""
        stored = bool(self.flags & _IN_MEMORY) and self.kind != _NOTHING_STORED
        return stored and self.address <= address and address + size <= self.address + self.size


class SharedLibrary:
    """What a library exports, given its file's content. Raises BadLibrary."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._sections = self._read_sections()
        symbols = next((part for part in self._sections if part.kind == _DYNAMIC_SYMBOLS), None)
        if symbols is None or symbols.size % _SYMBOL.size or symbols.link >= len(self._sections):
            raise BadLibrary("exports nothing that can be read")
        names = self._sections[symbols.link]
        if names.kind != _STRINGS:
            raise BadLibrary("has no names for what it exports")
        self._symbols = self._read(symbols.offset, symbols.size)
        self._names = self._read(names.offset, names.size)

    def data(self, name: str) -> bytes:
        """Return the bytes of an exported object. Raises KeyError for an unknown name, and BadLibrary."""
        wanted = name.encode() + b"\0"
        for start, _, _, section, address, size in _SYMBOL.iter_unpack(self._symbols):
            if section != _UNDEFINED and self._names[start : start + len(wanted)] == wanted:
                return self._at(address, size)
        raise KeyError(name)

    def _at(self, address: int, size: int) -> bytes:
        """Return bytes by their address in memory; no relocation is applied, so they must not hold pointers."""
        home = next((part for part in self._sections if size and part.holds(address, size)), None)
        if home is None:
            raise BadLibrary("exports something that is not in the file")
        return self._read(home.offset + address - home.address, size)

    def _read_sections(self) -> list[_Section]:
        header = _HEADER.unpack(self._read(0, _HEADER.size))
        ident, offset, entry_size, count = header[0], header[6], header[11], header[12]
        if not ident.startswith(_IDENT) or entry_size != _SECTION.size or not count:
            raise BadLibrary("is no ELF library of 64 bits, little endian, with section headers")
        table = self._read(offset, count * _SECTION.size)
        return [_Section(*fields[1:7]) for fields in _SECTION.iter_unpack(table)]

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > len(self._content):
            raise BadLibrary("is cut off or damaged")
        return self._content[offset : offset + size]
