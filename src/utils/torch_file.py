"""Reads the tensors of a file that torch.save wrote, without torch and without running what is in it.

Both of its formats are read: a zip archive (torch 1.6 and later), and pickles with the numbers behind them. A pickle
may name any function; here only what tensors are made of is known, and it makes descriptions, not objects of torch.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_MOST_DIMENSIONS = 8
_COUNT = struct.Struct("<q")
_ZIP_START = b"PK\x03\x04"
_PICKLE = "data.pkl"
_NUMBERS = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

# What the readers of pickles and archives raise for bytes that are none.
_DAMAGE = (
    pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, AttributeError, IndexError, KeyError, TypeError,
    ValueError, OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


class NotTensors(Exception):
    """The file was not written by torch.save, is damaged, or holds more than tensors and plain data."""


@dataclass(slots=True)
class _Storage:
    """Numbers of one kind; `data` is there when the file is read to its end."""

    kind: np.dtype[Any]
    count: int
    data: npt.NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> npt.NDArray[Any]:
        """Return a copy of the numbers. Raises NotTensors where they are not in the storage."""
        data = self.storage.data
        numbers = (self.offset, *self.shape, *self.strides)
        fits = (
            data is not None
            and len(self.shape) == len(self.strides) <= _MOST_DIMENSIONS
            and all(isinstance(number, int) and number >= 0 for number in numbers)
        )
        if data is None or not fits:
            raise NotTensors("a tensor without numbers")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if math.prod(self.shape) and not last < len(data):
            raise NotTensors("a tensor is larger than its numbers")
        if math.prod(self.shape) > len(data):
            raise NotTensors("a tensor repeats its numbers")
        strides = tuple(stride * data.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides).copy()


def read_tensors(path: Path, *keys: str) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors of a mapping in a file, by name; `keys` lead to it through the mappings around it.

    What else the mapping has is left out. Raises NotTensors, OSError.
    """
    content = path.read_bytes()
    try:
        found = _of_archive(content) if content.startswith(_ZIP_START) else _of_pickles(content)
    except _DAMAGE as error:
        raise NotTensors(f"{path.name} is not what torch.save writes: {error}") from error
    for key in keys:
        if not (isinstance(found, Mapping) and key in found):
            raise NotTensors(f"{path.name} has no {key}")
        found = found[key]
    if not isinstance(found, Mapping):
        raise NotTensors(f"{path.name} has no tensors by name")
    return {str(name): value.array() for name, value in found.items() if isinstance(value, _Tensor)}


def _of_archive(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        top = next((name for name in archive.namelist() if name.endswith(_PICKLE)), _PICKLE).removesuffix(_PICKLE)

        def read(name: str) -> bytes:
            info = archive.getinfo(top + name)
            if info.compress_type != zipfile.ZIP_STORED:
                raise NotTensors("its parts are compressed")
            return archive.read(info)

        unpickler = _Unpickler(io.BytesIO(read(_PICKLE)))
        found = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.data = np.frombuffer(read(f"data/{key}"), dtype=storage.kind)
        return found


def _of_pickles(content: bytes) -> Any:
    file = io.BytesIO(content)
    if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _VERSION:
        raise NotTensors("not a file of torch.save")
    if not _Unpickler(file).load()["little_endian"]:
        raise NotTensors("its numbers are big-endian")
    unpickler = _Unpickler(file)
    found = unpickler.load()
    for key in _Unpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = _COUNT.unpack(file.read(_COUNT.size))
        if count != storage.count:
            raise NotTensors("its numbers are not as many as it says")
        storage.data = np.frombuffer(file.read(count * storage.kind.itemsize), dtype=storage.kind)
    return found


class _Unpickler(pickle.Unpickler):
    """Knows plain data, ordered dictionaries and tensors; everything else is refused."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name means. Raises UnpicklingError for what is not known."""
        if module == "torch" and name in _NUMBERS:
            return np.dtype(_NUMBERS[name])
        if (known := _KNOWN.get((module, name))) is not None:
            return known
        raise pickle.UnpicklingError(f"it uses {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the numbers that a tensor is a view of: ("storage", kind, key, device, count), and None behind it."""
        word, kind, key, _, count, *view = pid
        if word != "storage" or not isinstance(kind, np.dtype) or any(part is not None for part in view):
            raise pickle.UnpicklingError("a tensor of an unknown kind")
        storage = self.storages.setdefault(str(key), _Storage(kind, int(count)))
        if storage.kind != kind:
            raise pickle.UnpicklingError("numbers of two kinds at once")
        return storage


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor of something else than numbers")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
