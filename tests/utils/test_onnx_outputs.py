from __future__ import annotations

import pytest

from utils.onnx_outputs import NotOneTensor, extra_output


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def node(op: str, inputs: list[str], outputs: list[str]) -> bytes:
    names = [field(1, name.encode()) for name in inputs] + [field(2, name.encode()) for name in outputs]
    return field(1, b"".join(names) + field(4, op.encode()))


def model(*nodes: bytes, output: str = "audio") -> bytes:
    # An IR version (a number) in front, a name and an output behind: as files have them.
    return b"\x08\x07" + b"".join(field(7, each) for each in nodes) + field(7, field(12, field(1, output.encode())))


ROUND, CLIP = node("Round", ["x"], ["r"]), node("Clip", ["r", "one"], ["d"])


def extra(data: bytes) -> bytes:
    return extra_output(memoryview(data), made_by=("Round", "Clip"), name="duration")


def test_what_comes_behind_the_model_copies_the_tensor_to_an_output() -> None:
    added = field(1, field(1, b"d") + field(2, b"duration") + field(4, b"Identity")) + field(12, field(1, b"duration"))
    assert extra(model(ROUND, CLIP, node("Clip", ["y"], ["z"]))) == field(7, added)


def test_a_model_that_has_the_output_gets_nothing() -> None:
    assert extra(model(ROUND, CLIP, output="duration")) == b""


@pytest.mark.parametrize(
    "data",
    [
        model(CLIP),
        model(ROUND),
        model(ROUND, CLIP, node("Clip", ["r"], ["e"])),
        b"",
        b"\xff",
        b"\x0b\x00",
        b"no protobuf at all",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(NotOneTensor):
        extra(data)
