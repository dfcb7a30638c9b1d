"""What tests write tiny ONNX models with, so that they need no library for it: messages of onnx.proto as bytes."""

from __future__ import annotations

import numpy as np

from utils.onnx_outputs import field

_INTEGER, _INTEGERS = b"\xa0\x01\x02", b"\xa0\x01\x07"
"""The kinds of attributes."""


def number(key: int, value: int) -> bytes:
    """A small number as a field."""
    assert value < 128
    return bytes([key << 3, value])


def tensor(name: str, values: np.ndarray) -> bytes:
    """A constant of a graph."""
    kind = {"float32": 1, "int64": 7}[values.dtype.name]
    dims = b"".join(number(1, size) for size in values.shape)
    return field(5, dims + number(2, kind) + field(8, name.encode()) + field(9, values.tobytes()))


def value(key: int, name: str, kind: int, *shape: int | str) -> bytes:
    """An input (key 11) or output (key 12) of a graph, of floats (kind 1) or integers (kind 7)."""
    dims = (field(1, number(1, size) if isinstance(size, int) else field(2, size.encode())) for size in shape)
    described = field(1, number(1, kind) + field(2, b"".join(dims)))
    return field(key, field(1, name.encode()) + field(2, described))


def node(op: str, inputs: str, output: str, **attributes: int | tuple[int, ...]) -> bytes:
    """An operator of a graph; its attributes are small integers."""
    given = b"".join(field(1, name.encode()) for name in inputs.split())
    told = b"".join(field(5, field(1, name.encode()) + _attribute(one)) for name, one in attributes.items())
    return field(1, given + field(2, output.encode()) + field(4, op.encode()) + told)


def _attribute(given: int | tuple[int, ...]) -> bytes:
    if isinstance(given, int):
        return number(3, given) + _INTEGER
    return b"".join(number(8, one) for one in given) + _INTEGERS


def model(*graph: bytes) -> bytes:
    """A model of these nodes, constants, inputs and outputs."""
    return number(1, 8) + field(7, b"".join([*graph, field(2, b"tiny")])) + field(8, number(2, 13))
