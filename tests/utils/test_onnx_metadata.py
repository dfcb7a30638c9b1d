from __future__ import annotations

from pathlib import Path

import pytest

from utils.onnx_metadata import more_metadata, read_metadata

MODEL = b"\x08\x07"  # an IR version alone


def test_what_is_put_behind_a_model_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL + more_metadata({"model_type": "vits", "n_speakers": 3, "long": "ü" * 300}))
    assert read_metadata(path) == {"model_type": "vits", "n_speakers": "3", "long": "ü" * 300}


def test_of_a_key_that_comes_twice_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL + more_metadata({"a": 1}) + more_metadata({"a": 2}))
    assert read_metadata(path) == {"a": "2"}


@pytest.mark.parametrize("content", [b"", MODEL, b"\xff", b"no protobuf at all"])
def test_what_is_no_model_has_no_metadata(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert read_metadata(path) == {}


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert read_metadata(tmp_path / "model.onnx") == {}
