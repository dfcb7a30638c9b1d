"""What is loaded and what is not: weights alone, one checkpoint to a folder, number formats the device has."""

# ruff: noqa: PLC0415 - torch and openai-whisper are imported in functions: collecting must work without them

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.engines.whisper import WhisperEngine
from asr.engines.whisper_checkpoint import checkpoint_file, load_checkpoint
from core.engines import EngineContext
from core.errors import ConfigurationError, DeviceOutOfMemory, InsufficientMemory, ModelBroken
from tests.whisper.conftest import Load

TINY = "whisper-tiny.en"


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def change(source: Path, target: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Write a checkpoint after a change to it."""
    import torch

    checkpoint = torch.load(next(source.glob("*.pt")), weights_only=True)
    edit(checkpoint)
    torch.save(checkpoint, target / "changed.pt")
    return target


def test_the_converted_file_is_openai_whispers_own_format(checkpoint: Callable[[str], Path]) -> None:
    import torch
    import whisper

    path = checkpoint(TINY) / "tiny.en.pt"
    theirs = whisper.load_model(str(path), device="cpu")
    assert not theirs.is_multilingual
    ours = load_checkpoint(path, TINY)
    for (name, one), (other, two) in zip(theirs.state_dict().items(), ours.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(one, two)


def test_the_heads_for_word_times_are_those_of_the_model(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    import whisper

    path = checkpoint(TINY) / "tiny.en.pt"
    named = whisper.Whisper(load_checkpoint(path, TINY).dims)
    named.set_alignment_heads(whisper._ALIGNMENT_HEADS["tiny.en"])
    wanted = named.alignment_heads.to_dense().tolist()
    assert load_checkpoint(path, TINY).alignment_heads.to_dense().tolist() == wanted
    without = change(checkpoint(TINY), tmp_path, lambda found: found.pop("alignment_heads"))
    official = (without / "changed.pt").rename(tmp_path / "tiny.en.pt")
    assert load_checkpoint(official, TINY).alignment_heads.to_dense().tolist() == wanted
    misnamed = official.rename(tmp_path / "large-v3.pt")
    assert load_checkpoint(misnamed, TINY).alignment_heads.to_dense().tolist() != wanted


def test_code_in_a_checkpoint_does_not_run(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    change(checkpoint(TINY), folder, lambda found: found.update(extra=Payload(marker)))
    with pytest.raises(ModelBroken, match="something else than weights"):
        load_checkpoint(folder / "changed.pt", "poisoned")
    assert not marker.exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found.pop("dims"),
        lambda found: found["dims"].update(n_mels=81),
        lambda found: found["dims"].update(n_text_layer=5),
        lambda found: found["dims"].update(n_text_layer=10**9),
        lambda found: found["dims"].update(n_text_head=0),
        lambda found: found["dims"].update(n_text_head=-6),
        lambda found: found["dims"].update(n_text_head=7),
        lambda found: found["dims"].update(n_text_ctx=100),
        lambda found: found["dims"].update(n_vocab="51864"),
        lambda found: found["model_state_dict"].popitem(),
        lambda found: found["model_state_dict"].update({"decoder.ln.bias": 3}),
        lambda found: found.update(alignment_heads=[[99, 99]]),
    ],
)
def test_what_is_no_whisper(
    checkpoint: Callable[[str], Path], tmp_path: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    folder = change(checkpoint(TINY), tmp_path, edit)
    with pytest.raises(ModelBroken):
        load_checkpoint(folder / "changed.pt", "changed")


def test_more_weights_than_the_file_holds(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    def spread(found: dict[str, Any]) -> None:
        found["dims"]["n_audio_state"] = 600_000  # the attention alone would take terabytes
        first = found["model_state_dict"]["encoder.conv1.weight"]
        found["model_state_dict"]["encoder.conv1.weight"] = first[:1, :1, :1].expand(600_000, 80, 3)

    folder = change(checkpoint(TINY), tmp_path, spread)
    with pytest.raises(ModelBroken, match="fewer weights than it says"):
        load_checkpoint(folder / "changed.pt", "spread")


def test_a_packed_archive(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "packed.pt"
    with (
        zipfile.ZipFile(checkpoint(TINY) / "tiny.en.pt") as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            packed.writestr(name, bytes(source.getinfo(name).file_size))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ModelBroken, match="packed"):
        load_checkpoint(path, "packed")


def test_a_file_that_is_a_pickle_alone(tmp_path: Path) -> None:
    path, marker = tmp_path / "tiny.pt", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(ModelBroken, match="something else than weights"):
        load_checkpoint(path, "poisoned")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"hello world", b"0", b"e", bytes(range(256))])
def test_what_is_no_checkpoint_is_told_in_plain_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rnd.pt"
    path.write_bytes(content)
    with pytest.raises(ModelBroken, match=r"cut short or damaged|something else than weights") as caught:
        load_checkpoint(path, "rnd")
    assert "Error" not in caught.value.message


def test_weights_of_another_model(tmp_path: Path) -> None:
    import torch

    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ModelBroken, match="none of openai-whisper's"):
        load_checkpoint(tmp_path / "other.pt", "other")


def test_a_cut_file(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    path.write_bytes((checkpoint(TINY) / "tiny.en.pt").read_bytes()[:1_000_000])
    with pytest.raises(ModelBroken, match="cut short") as caught:
        load_checkpoint(path, "cut")
    assert str(tmp_path) not in caught.value.message


def test_weights_that_are_no_numbers(checkpoint: Callable[[str], Path], tmp_path: Path, load_engine: Load) -> None:
    def damage(found: dict[str, Any]) -> None:
        found["model_state_dict"]["encoder.blocks.0.attn.out.bias"][:] = float("nan")

    with pytest.raises(ModelBroken, match="damaged"):
        load_engine(change(checkpoint(TINY), tmp_path, damage))


def test_which_file_of_a_folder(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    path = checkpoint(TINY) / "tiny.en.pt"
    assert checkpoint_file(path, TINY) == checkpoint_file(path.parent, TINY) == path
    with pytest.raises(ModelBroken, match="none"):
        checkpoint_file(tmp_path, TINY)
    for name in ("a.pt", "b.pt"):
        shutil.copy(path, tmp_path / name)
    with pytest.raises(ModelBroken, match=r"a\.pt, b\.pt"):
        checkpoint_file(tmp_path, TINY)
    with pytest.raises(ConfigurationError):
        checkpoint_file(None, TINY)


@pytest.mark.parametrize("compute_type", ["float16", "int8"])
def test_a_number_format_the_device_has_not(checkpoint: Callable[[str], Path], compute_type: str) -> None:
    engine = WhisperEngine(EngineContext(model=checkpoint(TINY), model_id=TINY, compute_type=compute_type))
    with pytest.raises(ConfigurationError, match=compute_type):
        engine.load()


def test_full_memory_is_not_a_bug(base: WhisperEngine) -> None:
    import torch

    for raised, becomes in (
        (torch.OutOfMemoryError("CUDA out of memory"), DeviceOutOfMemory),
        (MemoryError(), InsufficientMemory),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), InsufficientMemory),
        (RuntimeError("shapes differ"), RuntimeError),
    ):
        with pytest.raises(becomes), base._decoder._computing():
            raise raised
