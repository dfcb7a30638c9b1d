"""What a Coqui folder says without the library: its family, voices, languages and files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from core.engines import EngineContext
from core.errors import ConfigurationError
from tts.engines.coqui import CoquiEngine
from tts.engines.coqui_files import CoquiFolder, ids_of


def folder(path: Path, files: tuple[str, ...] = ("model.pth",), **config: Any) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    for name in files:
        (path / name).write_bytes(b"")
    return path


def voices(path: Path) -> list[tuple[str, str, str | None]]:
    return [(voice.id, voice.name, voice.language) for voice in CoquiEngine.list_voices(path)]


def test_listing_imports_neither_torch_nor_coqui(tmp_path: Path) -> None:
    before = set(sys.modules)
    CoquiEngine.list_voices(folder(tmp_path, model="vits"))
    assert not {"torch", "TTS"} & (set(sys.modules) - before)


def test_a_model_without_speakers_has_one_voice(tmp_path: Path) -> None:
    model = folder(
        tmp_path, model="vits", datasets=[{"language": "pt-br"}], model_args={"use_speaker_embedding": False}
    )
    assert voices(model) == [("default", "default", "pt")]


def test_speakers_of_the_configuration(tmp_path: Path) -> None:
    model = folder(
        tmp_path,
        model="vits",
        speakers=["Ana", "Zé"],
        languages=["en", "pt"],
        model_args={"use_speaker_embedding": True},
    )
    assert voices(model) == [("ana", "Ana", None), ("z", "Zé", None)]


@pytest.mark.parametrize("named", ["/root/run/speaker_ids.json", "speaker_ids.json", None])
def test_speakers_of_a_file(tmp_path: Path, named: str | None) -> None:
    (tmp_path / "speaker_ids.json").write_text('{"p225": 0, "p226": 1}')
    model = folder(tmp_path, model="vits", model_args={"use_speaker_embedding": True, "speakers_file": named})
    assert [voice[0] for voice in voices(model)] == ["p225", "p226"]


def test_speakers_of_d_vectors(tmp_path: Path) -> None:
    entries = {f"{number}.wav": {"name": name, "embedding": [0.1]} for number, name in enumerate("BAB")}
    (tmp_path / "speakers.json").write_text(json.dumps(entries))
    model = folder(tmp_path, model="vits", model_args={"use_d_vector_file": True, "d_vector_file": ["x/speakers.json"]})
    assert [voice[1] for voice in voices(model)] == ["A", "B"]


@pytest.mark.parametrize("model", ["xtts", "vits"])
def test_speakers_that_only_torch_can_read_are_not_listed(tmp_path: Path, model: str) -> None:
    path = folder(
        tmp_path,
        ("model.pth", "speakers_xtts.pth", "speakers.pth"),
        model=model,
        model_args={"use_speaker_embedding": True},
    )
    assert voices(path) == []


def test_a_file_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"stranger": 0}')
    (tmp_path / "model").mkdir()
    named = {"use_speaker_embedding": True, "speakers_file": str(tmp_path / "names.json")}
    assert voices(folder(tmp_path / "model", model="vits", model_args=named)) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (("model_file.pth", "speakers.pth"), "model_file.pth"),
        (("model.pth", "dvae.pth", "speakers_xtts.pth"), "model.pth"),
        (("ljspeech.pth", "model_se.pth"), "ljspeech.pth"),
    ],
)
def test_the_checkpoint_is_found(tmp_path: Path, files: tuple[str, ...], found: str) -> None:
    assert CoquiFolder(folder(tmp_path, files, model="vits")).checkpoint().name == found


@pytest.mark.parametrize("files", [(), ("a.pth", "b.pth"), ("speakers_xtts.pth",)])
def test_a_checkpoint_that_cannot_be_told_is_an_error(tmp_path: Path, files: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="no checkpoint"):
        CoquiFolder(folder(tmp_path, files, model="vits")).checkpoint()


@pytest.mark.parametrize("text", [None, "{", "[]", '"xtts"', "\ud800"])
def test_a_configuration_that_cannot_be_read_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigurationError):
        CoquiFolder(tmp_path)


def test_the_languages_of_xtts(tmp_path: Path) -> None:
    languages = CoquiFolder(folder(tmp_path, model="xtts")).languages()
    assert " ".join(sorted(languages)) == "ar cs de en es fr hi hu it ja ko nl pl pt ru tr zh-cn"


def test_the_family_of_a_fine_tuned_model_is_that_of_its_base(tmp_path: Path) -> None:
    assert CoquiFolder(folder(tmp_path, model="my_tts", base_model="VITS")).family == "vits"


def test_ids_are_unique_and_name_the_speaker() -> None:
    assert ids_of(["Claribel Dervla", "claribel dervla", "ED\n", "李", "../x"]) == {
        "claribel_dervla": "Claribel Dervla",
        "claribel_dervla_2": "claribel dervla",
        "ed": "ED\n",
        "speaker": "李",
        "x": "../x",
    }


@pytest.mark.skipif(not CoquiEngine.missing(), reason="Coqui is installed here")
def test_without_the_library_the_extra_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"voice-stack\[coqui\]"):
        CoquiEngine(EngineContext())
