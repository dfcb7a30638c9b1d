"""Makes an ONNX model return a tensor it computes anyway, without the onnx package: its file is a protobuf message.

Messages that are put one behind the other are read as one message, whose lists are joined. So a model with one more
output is the file and a few bytes behind it; nothing of the file is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Field numbers of onnx.proto: ModelProto.graph; GraphProto.node and .output; NodeProto.input, .output and .op_type;
# ValueInfoProto.name.
_GRAPH = 7
_NODE, _GRAPH_OUTPUT = 1, 12
_INPUT, _OUTPUT, _OP = 1, 2, 4
_NAME = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MORE, _LOW = 0x80, 0x7F


class NotOneTensor(Exception):
    """The model has no such tensor, or several; or the file is not a model."""


@dataclass(frozen=True, slots=True)
class _Node:
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graph:
    """The nodes of a model's file. Raises NotOneTensor for a file that is none."""

    def __init__(self, model: memoryview) -> None:
        try:
            graphs = [content for number, content in fields(model) if number == _GRAPH]
            self._outputs = _output_names(graphs)
            self._nodes = list(_nodes(graphs))
        except (IndexError, UnicodeDecodeError) as error:
            raise NotOneTensor("not an ONNX model") from error

    def made_by(self, *operators: str) -> str:
        """Return the tensor that a chain of operators makes, each reading what the one before it made.

        Raises NotOneTensor unless exactly one chain of the model is like that.
        """
        first, *others = operators
        found = {output for node in self._nodes if node.op == first for output in node.outputs}
        for op in others:
            readers = [node for node in self._nodes if node.op == op and found.intersection(node.inputs)]
            found = {output for node in readers for output in node.outputs}
        if len(found) != 1:
            raise NotOneTensor(f"{len(found)} tensors are made by {' and '.join(operators)}")
        return found.pop()

    def read_by(self, operator: str) -> tuple[str, ...]:
        """Return the tensors that the only node of an operator reads. Raises NotOneTensor."""
        found = [node for node in self._nodes if node.op == operator]
        if len(found) != 1:
            raise NotOneTensor(f"{len(found)} nodes are {operator}")
        return found[0].inputs

    def has_output(self, name: str) -> bool:
        """Tell whether the model has such an output by itself."""
        return name in self._outputs

    def more_outputs(self, names: Mapping[str, str]) -> bytes:
        """Return what to put behind the model's file to get tensors as outputs: their names by those of the outputs.

        For outputs that the model has it is nothing.
        """
        return b"".join(_more(tensor, name) for name, tensor in names.items() if name not in self._outputs)


def extra_output(model: memoryview, *, made_by: Sequence[str], name: str) -> bytes:
    """Return what to put behind the model's file to get the tensor that a chain of operators makes as output `name`.

    `made_by` are the operators' types, each reading what the one before it made: ("Round", "Clip"). For a model that
    has such an output it is nothing. Raises NotOneTensor unless exactly one chain of the model is like that.
    """
    graph = Graph(model)
    return b"" if graph.has_output(name) else graph.more_outputs({name: graph.made_by(*made_by)})


def _more(tensor: str, name: str) -> bytes:
    copy = field(_INPUT, tensor.encode()) + field(_OUTPUT, name.encode()) + field(_OP, b"Identity")
    output = field(_NAME, name.encode())
    return field(_GRAPH, field(_NODE, copy) + field(_GRAPH_OUTPUT, output))


def _output_names(graphs: Sequence[memoryview]) -> set[str]:
    outputs = [content for graph in graphs for part, content in fields(graph) if part == _GRAPH_OUTPUT]
    return {bytes(value).decode() for output in outputs for key, value in fields(output) if key == _NAME}


def _nodes(graphs: Sequence[memoryview]) -> Iterator[_Node]:
    for graph in graphs:
        for part, node in fields(graph):
            if part == _NODE:
                found = [(key, bytes(value).decode()) for key, value in fields(node) if key in {_INPUT, _OUTPUT, _OP}]
                yield _Node(
                    op=next((text for key, text in found if key == _OP), ""),
                    inputs=tuple(text for key, text in found if key == _INPUT),
                    outputs=tuple(text for key, text in found if key == _OUTPUT),
                )


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the fields of a protobuf message that hold bytes, with their numbers; the others are stepped over.

    Raises NotOneTensor or IndexError for what is no message.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _BYTES:
            size, place = _varint(message, place)
            yield key >> 3, message[place : place + size]
            place += size
        elif kind == _VARINT:
            _, place = _varint(message, place)
        elif kind in {_FIXED32, _FIXED64}:
            place += 4 if kind == _FIXED32 else 8
        else:
            raise NotOneTensor("not an ONNX model")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & _LOW) << shift
        if not byte & _MORE:
            return value, place
        shift += 7


def field(number: int, content: bytes) -> bytes:
    """Return a field of a protobuf message that holds bytes."""
    return _number(number << 3 | _BYTES) + _number(len(content)) + content


def _number(value: int) -> bytes:
    found = bytearray()
    while value > _LOW:
        found.append(value & _LOW | _MORE)
        value >>= 7
    return bytes([*found, value])
