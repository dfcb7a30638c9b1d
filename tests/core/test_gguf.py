"""Headers of ggml and GGUF files, written here as the format's description says; no weights behind them."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import gguf

KINDS: dict[type, tuple[int, str]] = {int: (4, "<I"), float: (6, "<f"), bool: (7, "<?")}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(given: Any) -> bytes:
    """A key's value with its kind in front."""
    if isinstance(given, str):
        return struct.pack("<I", 8) + text(given)
    if isinstance(given, list):
        parts = [value(one) for one in given]
        return struct.pack("<I", 9) + parts[0][:4] + struct.pack("<Q", len(parts)) + b"".join(p[4:] for p in parts)
    kind, code = KINDS[type(given)]
    return struct.pack("<I", kind) + struct.pack(code, given)


def header(keys: dict[str, Any], *, version: int = 3) -> bytes:
    body = b"".join(text(key) + value(given) for key, given in keys.items())
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(keys)) + body


def test_keys_are_read_and_lists_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tokens = ["a", "é" * 40, ""]
    path.write_bytes(
        header({"tokens": tokens, "nested": [[1, 2], [3]], "n": 7, "ok": True, "general.architecture": "x"})
    )
    assert gguf.read(path) == {"n": 7, "ok": True, "general.architecture": "x"}
    assert gguf.architecture(path) == "x"


def test_reading_stops_at_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header({"general.architecture": "whisper", "more": 1})[:-2])
    assert gguf.architecture(path) == "whisper"
    with pytest.raises(gguf.BrokenHeader):
        gguf.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(40),
        header({}, version=1),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 63),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 1 << 62),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 1 << 62),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 99),
    ],
)
def test_a_damaged_header_is_an_error_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(gguf.BrokenHeader):
        gguf.read(path)
    assert gguf.architecture(path) is None


@given(st.binary(max_size=200))
def test_rubbish_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes) -> None:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + rubbish)
    gguf.architecture(path)


def tensors(*shapes: tuple[int, ...], architecture: str = "piper") -> bytes:
    """A file of 32-bit zeros, one tensor of each shape."""
    told, weights = b"", b""
    for number, shape in enumerate(shapes):
        told += text(f"t{number}") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(weights))
        size = 4 * math.prod(shape)
        weights += bytes(-(-size // 32) * 32)
    head = header({"general.architecture": architecture})
    head = head[:8] + struct.pack("<Q", len(shapes)) + head[16:] + told
    return head + bytes(-len(head) % 32) + weights


def whisper(*, kind: int = 0) -> bytes:
    """The smallest file of the older format: two filters, two tokens, two tensors."""
    file = b"lmgg" + struct.pack("<11i", 51_864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)
    file += struct.pack("<II2f", 1, 2, 0.0, 0.0) + struct.pack("<I", 2) + struct.pack("<I1sI2s", 1, b"a", 2, b"bc")
    for name in (b"one", b"two"):
        file += struct.pack("<5i", 2, len(name), kind, 3, 2) + name + bytes(24)
    return file


@pytest.mark.parametrize("content", [tensors((4, 2), (8,)), whisper()])
def test_a_file_is_whole_or_it_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    gguf.check(path)
    for size in (*range(0, len(content) - 32, 7), len(content) - 33):
        path.write_bytes(content[:size])
        if content.startswith(b"lmgg") and size == len(content) - 47:  # exactly one tensor is missing
            continue
        with pytest.raises(gguf.BrokenHeader):
            gguf.check(path)


@pytest.mark.parametrize("content", [whisper(kind=77), whisper()[:4] + bytes(44) + whisper()[48:], tensors((0,))])
def test_sizes_that_cannot_be_are_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(gguf.BrokenHeader):
        gguf.check(path)


@given(st.binary(max_size=200), st.sampled_from([b"lmgg", b"GGUF"]), st.integers(0, 400))
def test_rubbish_in_the_middle_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes, magic: bytes, place: int
) -> None:
    content = bytearray(whisper() if magic == b"lmgg" else tensors((4, 2), (8,)))
    content[place : place + len(rubbish)] = rubbish
    path = tmp_path_factory.mktemp("gguf") / "model"
    path.write_bytes(content)
    with suppress(gguf.BrokenHeader):
        gguf.check(path)


def test_the_older_format_tells_the_size_of_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "ggml-base.bin"
    for words, found in ((51_864, 51_864), (51_865, 51_865), (32_000, None)):
        path.write_bytes(b"lmgg" + struct.pack("<11i", words, *range(10)))
        assert gguf.whisper_words(path) == found
    path.write_bytes(b"lmgg")
    assert gguf.whisper_words(path) is None
    assert gguf.whisper_words(tmp_path / "none.bin") is None
