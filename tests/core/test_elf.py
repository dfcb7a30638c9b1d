"""Data out of shared libraries: what is exported, and nothing but BadLibrary for what is damaged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import voice_stack  # noqa: F401 - puts our packages on the import path
from core.sources.elf import BadLibrary, SharedLibrary
from tests.core.elf_files import HEADER, SECTION, SYMBOL, library

TABLES = {"mean": b"1234", "model": b"ORTM" * 50, "model_size": b"\x08"}
GOOD = library(TABLES, wanted=("malloc",))
_SECTION_TABLE = 0x28  # where the header says it is
_DATA, _STRINGS, _SYMBOLS = 1, 3, 4
_OFFSET, _SIZE, _LINK = 24, 32, 40  # in a section's entry


def changed(content: bytes, place: int, value: int, size: int = 8) -> bytes:
    return content[:place] + value.to_bytes(size, "little") + content[place + size :]


def entry(section: int, field: int) -> int:
    """The place of a field of a section's entry in GOOD."""
    (table,) = struct.unpack_from("<Q", GOOD, _SECTION_TABLE)
    return int(table) + section * SECTION + field


def last_symbol(field: int) -> int:
    """The place of a field of the last symbol in GOOD, which is `model_size`."""
    (table,) = struct.unpack_from("<Q", GOOD, _SECTION_TABLE)
    return int(table) - SYMBOL + field


@pytest.mark.parametrize("name", TABLES)
def test_an_exported_object_is_its_bytes(name: str) -> None:
    assert SharedLibrary(GOOD).data(name) == TABLES[name]


@pytest.mark.parametrize("name", ["", "mode", "odel", "model_", "malloc", "modelé"])
def test_what_is_not_exported_is_an_unknown_key(name: str) -> None:
    with pytest.raises(KeyError):
        SharedLibrary(GOOD).data(name)


def test_a_name_may_be_the_end_of_another() -> None:
    (start,) = struct.unpack_from("<I", GOOD, last_symbol(0))
    content = changed(GOOD, last_symbol(0), start + len("model_"), size=4)
    assert SharedLibrary(content).data("size") == TABLES["model_size"]


@pytest.mark.parametrize(
    ("place", "value", "size"),
    [
        (0, 0, 4),  # no ELF
        (4, 1, 1),  # 32 bits
        (5, 2, 1),  # big endian
        (0x3A, 40, 2),  # entries of another size
        (0x3C, 0, 2),  # no sections
        (_SECTION_TABLE, len(GOOD), 8),
        (_SECTION_TABLE, 2**64 - 1, 8),
        (entry(_SYMBOLS, 4), 2, 4),  # the symbols are something else
        (entry(_SYMBOLS, _SIZE), SYMBOL + 1, 8),
        (entry(_SYMBOLS, _OFFSET), 2**64 - 1, 8),
        (entry(_SYMBOLS, _LINK), 99, 4),
        (entry(_SYMBOLS, _LINK), _DATA, 4),
        (entry(_STRINGS, _SIZE), 2**63, 8),
    ],
)
def test_a_damaged_library_is_refused(place: int, value: int, size: int) -> None:
    with pytest.raises(BadLibrary):
        SharedLibrary(changed(GOOD, place, value, size))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (last_symbol(8), 0),  # an address that is nowhere
        (last_symbol(8), 2**64 - 1),
        (last_symbol(16), 0),  # nothing
        (last_symbol(16), 2),  # reaches into what the file does not store
        (last_symbol(16), 2**64 - 1),
        (entry(_DATA, _OFFSET), len(GOOD)),
    ],
)
def test_an_object_outside_the_file_is_refused(place: int, value: int) -> None:
    with pytest.raises(BadLibrary):
        SharedLibrary(changed(GOOD, place, value)).data("model_size")


def test_a_library_that_is_cut_off_is_refused() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(BadLibrary):
            SharedLibrary(GOOD[:length])


@given(st.binary(max_size=8), st.integers(0, len(GOOD) - 1))
def test_no_bytes_make_it_fail_in_another_way(noise: bytes, place: int) -> None:
    content = GOOD[:place] + noise + GOOD[place + len(noise) :]
    try:
        found = SharedLibrary(content).data("model")
    except (BadLibrary, KeyError):
        return
    assert len(found) <= len(content) - HEADER
