"""Headers of ggml and GGUF files, written here as the format's description says; no weights behind them."""

from __future__ import annotations

import struct
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


def test_the_older_format_tells_the_size_of_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "ggml-base.bin"
    for words, found in ((51_864, 51_864), (51_865, 51_865), (32_000, None)):
        path.write_bytes(b"lmgg" + struct.pack("<11i", words, *range(10)))
        assert gguf.whisper_words(path) == found
    path.write_bytes(b"lmgg")
    assert gguf.whisper_words(path) is None
    assert gguf.whisper_words(tmp_path / "none.bin") is None
