"""scripts/convert_whisper.py: the ggml file holds what whisper.cpp reads; what is no float model is refused."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scripts.convert_whisper import NotConverted, dimensions, main, mel_filters, read_model, state, write_ggml

TINY = "whisper-tiny.en"


class Reader:
    """Reads a ggml file the way whisper.cpp does."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.at = 0

    def ints(self, count: int) -> tuple[int, ...]:
        found = struct.unpack_from(f"<{count}i", self.data, self.at)
        self.at += 4 * count
        return found

    def bytes(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]


@pytest.mark.e2e
def test_a_ggml_file_holds_the_model(model_dir: Callable[[str], Path], tmp_path: Path) -> None:
    write_ggml(model_dir(TINY), tmp_path / "ggml.bin")
    read = Reader(tmp_path / "ggml.bin")
    assert read.ints(12) == (0x67676D6C, 51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)
    mels, bins = read.ints(2)
    assert (mels, bins) == (80, 201)
    filters = np.frombuffer(read.bytes(4 * mels * bins), "<f4").reshape(mels, bins)
    assert np.array_equal(filters, mel_filters(80))
    (count,) = read.ints(1)
    tokens = [read.bytes(read.ints(1)[0]) for _ in range(count)]
    assert len(tokens) == 50256
    assert tokens[:2] == [b"!", b'"']
    assert b" country" in tokens
    wanted = state(read_model(model_dir(TINY) / "model.bin"))
    found = {}
    while read.at < len(read.data):
        rank, name_size, kind = read.ints(3)
        shape = read.ints(rank)[::-1]
        name = read.bytes(name_size).decode()
        numbers = np.dtype("<f4" if kind == 0 else "<f2")
        content = read.bytes(int(np.prod(shape)) * numbers.itemsize)
        found[name] = np.frombuffer(content, numbers).reshape(shape)
        assert (kind == 0) == (rank == 1 or shape[1] == 1 or "positional" in name)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name].reshape(weights.shape), weights) for name, weights in wanted.items())


@pytest.mark.e2e
@pytest.mark.parametrize(("model", "words", "tensors"), [(TINY, 51864, 167), ("whisper-base", 51865, 245)])
def test_sizes_and_number_of_tensors(model_dir: Callable[[str], Path], model: str, words: int, tensors: int) -> None:
    variables = read_model(model_dir(model) / "model.bin")
    assert dimensions(variables).n_vocab == words
    found = state(variables)
    assert len(found) == tensors
    assert not any(name.endswith("key.bias") for name in found)


def entry(name: str, kind: int, shape: tuple[int, ...], content: bytes) -> bytes:
    label = f"{name}\0".encode()
    head = struct.pack(f"<H{len(label)}sB{len(shape)}I", len(label), label, len(shape), *shape)
    return head + struct.pack("<BI", kind, len(content)) + content


def test_what_is_no_whisper_model(tmp_path: Path) -> None:
    spec = b"TransformerSpec\0"
    for name, content in (
        ("text", b"hello"),
        ("other", struct.pack(f"<IH{len(spec)}s2I", 6, len(spec), spec, 3, 0)),
        ("cut", struct.pack("<IH12s2I", 6, 12, b"WhisperSpec\0", 3, 5)),
        ("type", struct.pack("<IH12s2I", 6, 12, b"WhisperSpec\0", 3, 1) + entry("x", 9, (1,), b"0")),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(NotConverted):
            read_model(path)


@pytest.mark.e2e
def test_the_command_says_how_to_use_what_it_wrote(
    model_dir: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "ggml-tiny.en.bin"
    monkeypatch.setattr("sys.argv", ["convert_whisper.py", str(model_dir(TINY)), str(output)])
    assert main() == 0
    assert output.is_file()
    assert f"ASR_ENGINE=crispasr ASR_MODEL={output} " in capsys.readouterr().out


@pytest.mark.parametrize(("name", "status"), [("x.gguf", 2), ("x.bin", 1)])
def test_what_is_not_converted_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, status: int
) -> None:
    model, target = tmp_path / "model", tmp_path / "made"
    model.mkdir()
    target.mkdir()
    (model / "model.bin").write_bytes(b"hello")
    monkeypatch.setattr("sys.argv", ["convert_whisper.py", str(model), str(target / name)])
    with pytest.raises(SystemExit) as caught:
        sys.exit(main())
    assert caught.value.code == status
    assert "openai-whisper" in (told := capsys.readouterr().err) or "not converted" in told
    assert list(target.iterdir()) == []
