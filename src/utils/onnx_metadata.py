"""The notes in an ONNX file (its metadata), read and written without the onnx package and without loading the graph."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path

from utils.onnx_outputs import NotOneTensor, field, fields

# Field numbers of onnx.proto: ModelProto.metadata_props; StringStringEntryProto.key and .value.
_METADATA = 14
_KEY, _VALUE = 1, 2


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a model's file; nothing for a file that is no ONNX model or cannot be read."""
    try:
        with path.open("rb") as file:
            # Not closed: it cannot be while a slice of it is alive, and goes with the last one.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        entries = [content for number, content in fields(memoryview(mapped)) if number == _METADATA]
        pairs = [{key: bytes(value).decode() for key, value in fields(entry)} for entry in entries]
    except (OSError, ValueError, IndexError, NotOneTensor):  # ValueError: an empty file cannot be mapped
        return {}
    return {pair.get(_KEY, ""): pair.get(_VALUE, "") for pair in pairs}


def more_metadata(facts: Mapping[str, object]) -> bytes:
    """Return what to put behind a model's file to give it these notes.

    Messages that are put one behind the other are read as one, whose lists are joined; of a key that comes twice
    the last one counts.
    """
    entries = (field(_KEY, key.encode()) + field(_VALUE, str(value).encode()) for key, value in facts.items())
    return b"".join(field(_METADATA, entry) for entry in entries)
