"""Which engine folders and single files belong to; they hold what tells them apart, and no weights."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
from scripts.voice_gguf import write

from core import gguf
from core.catalogue import Catalogue
from core.errors import ModelNotFound
from core.model_entry import TASKS
from core.model_folder import FolderFacts, detect, weights_file
from utils.onnx_metadata import more_metadata

ASR, TTS, _ = TASKS


def checkpoint(path: Path, words: int) -> Path:
    """What torch.save writes, as far as it is looked at."""
    dims = {"n_mels": 80, "n_vocab": words, "n_audio_ctx": 1500}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps({"dims": dims, "model_state_dict": {}}, protocol=2))
    return path


def gguf_file(path: Path, architecture: str) -> Path:
    key = b"general.architecture"
    name = architecture.encode()
    body = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(name)) + name
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + body)
    return path


def ggml_file(path: Path, words: int) -> Path:
    path.write_bytes(b"lmgg" + struct.pack("<11i", words, *range(10)))
    return path


def facts(path: Path) -> FolderFacts:
    found = detect(path)
    assert found is not None
    return found


@pytest.mark.parametrize(("words", "languages", "translates"), [(51_864, ("en",), False), (51_865, (), True)])
def test_a_checkpoint_of_openai_whisper(
    tmp_path: Path, words: int, languages: tuple[str, ...], translates: bool
) -> None:
    path = checkpoint(tmp_path / "mine.pt", words)
    for place in (path, tmp_path):
        found = facts(place)
        assert (found.engine, found.task, found.languages) == ("whisper", ASR, languages)
        assert found.translates == translates


def test_an_old_checkpoint_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "tiny.en.pt").write_bytes(b"\x80\x02")
    assert (facts(tmp_path).engine, facts(tmp_path).languages) == ("whisper", ("en",))
    (tmp_path / "tiny.en.pt").rename(tmp_path / "voice.pt")
    assert detect(tmp_path) is None


@pytest.mark.parametrize(
    ("architecture", "name", "task"),
    [
        ("whisper", "ggml.gguf", ASR),
        ("parakeet", "parakeet-tdt-0.6b-v3-q4_k.gguf", ASR),
        ("qwen3-asr", "qwen3-asr-0.6b.gguf", ASR),
        ("vibevoice", "vibevoice-asr-q4_k.gguf", ASR),
        ("vibevoice", "vibevoice-realtime-0.5b-q4_k.gguf", TTS),
        ("qwen3_tts", "a.gguf", TTS),
        ("orpheus", "orpheus-3b.gguf", TTS),
        ("kokoro", "kokoro.gguf", TTS),
    ],
)
def test_a_gguf_file_tells_its_task_by_its_architecture(
    tmp_path: Path, architecture: str, name: str, task: str
) -> None:
    path = gguf_file(tmp_path / name, architecture)
    gguf_file(tmp_path / "codec.gguf", "snac")
    assert (facts(path).engine, facts(path).task) == ("crispasr", task)
    assert (facts(tmp_path).engine, facts(tmp_path).task) == ("crispasr", task)
    assert weights_file(tmp_path) == weights_file(path) == path


def test_a_piper_voice_in_gguf_tells_its_language_and_rate(tmp_path: Path) -> None:
    keys = {"general.architecture": "piper", "piper.sample_rate": 16_000, "piper.espeak_voice": "pt-br"}
    write(tmp_path / "voice.gguf", keys, {})
    found = facts(tmp_path)
    assert (found.engine, found.task, found.languages, found.sample_rate) == ("crispasr", TTS, ("pt",), 16_000)


def test_only_what_may_be_a_piper_voice_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr("core.gguf.piper_voice", asked.append)
    path = gguf_file(tmp_path / "a.gguf", "qwen3-asr")
    assert (facts(path).task, asked) == (ASR, [])
    assert (facts(gguf_file(tmp_path / "b.gguf", "piper")).task, asked) == (TTS, [tmp_path / "b.gguf"])


def test_a_header_is_read_once_until_the_file_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    architecture = gguf.architecture
    monkeypatch.setattr("core.gguf.architecture", lambda path: read.append(path) or architecture(path))
    path = gguf_file(tmp_path / "a.gguf", "parakeet")
    assert [facts(path).task, facts(tmp_path).task, facts(path).task] == [ASR] * 3
    assert read == [path]
    gguf_file(path, "orpheus")
    os.utime(path, ns=(0, 0))
    assert facts(path).task == TTS


@pytest.mark.parametrize("architecture", ["llama", "snac", "kokoro-voice", ""])
def test_other_gguf_files_are_nobodys(tmp_path: Path, architecture: str) -> None:
    assert detect(gguf_file(tmp_path / "a.gguf", architecture)) is None
    assert detect(tmp_path) is None


def test_ggmls_older_format(tmp_path: Path) -> None:
    path = ggml_file(tmp_path / "ggml-base.en.bin", 51_864)
    assert (facts(path).engine, facts(path).languages, facts(tmp_path).translates) == ("crispasr", ("en",), False)
    (tmp_path / "model.bin").write_bytes(b"else")
    assert detect(tmp_path / "model.bin") is None


def test_of_two_models_in_a_folder_neither_is_guessed(tmp_path: Path) -> None:
    gguf_file(tmp_path / "a.gguf", "whisper")
    gguf_file(tmp_path / "b.gguf", "parakeet")
    assert detect(tmp_path) is None


@pytest.mark.parametrize(
    ("notes", "others", "task"),
    [
        ({"model_type": "sense_voice_ctc"}, (), ASR),
        ({"model_type": "vits", "comment": "piper", "sample_rate": 16000, "n_speakers": 1}, (), TTS),
        ({"model_type": "kokoro", "sample_rate": 24000}, ("voices.bin",), TTS),
    ],
)
def test_a_folder_of_sherpa_onnx(tmp_path: Path, notes: dict[str, object], others: tuple[str, ...], task: str) -> None:
    (tmp_path / "model.onnx").write_bytes(more_metadata(notes))
    assert detect(tmp_path) is None or task == TTS
    for name in ("tokens.txt", *others):
        (tmp_path / name).write_text("a 0\n")
    found = facts(tmp_path)
    assert (found.engine, found.task, found.sample_rate) == ("sherpa-onnx", task, notes.get("sample_rate"))


def test_an_operator_may_name_a_file(tmp_path: Path) -> None:
    path = ggml_file(tmp_path / "ggml-base.bin", 51_865)
    catalogue = Catalogue.load(tmp_path / "cache")
    found = catalogue.resolve(str(path), ASR)
    assert (found.id, found.engine, found.path) == ("ggml-base", "crispasr", path)
    with pytest.raises(ModelNotFound, match="does automatic-speech-recognition"):
        catalogue.resolve(str(path), TTS)
    with pytest.raises(ModelNotFound):
        catalogue.lookup(str(path), ASR)
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ModelNotFound, match=r"no engine knows the file 'notes\.txt'"):
        catalogue.resolve(str(tmp_path / "notes.txt"), ASR)
