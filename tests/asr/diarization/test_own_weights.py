"""Voices compare only where the weights of the encoder are the same, whatever its files are called."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import Vector
from asr.diarization.engines import fast, ge2e
from asr.diarization.engines.fake import FakeDiarizer
from asr.diarization.engines.fast import FastEngine
from asr.diarization.networks import PULLED, SHA256, WESPEAKER, as_onnx, is_own
from asr.diarization.own_weights import own_name
from core.catalogue import _DATA
from core.engines import EngineContext
from core.errors import InvalidAudio, ModelBroken
from core.model_entry import read_catalogue
from core.model_folder import detect
from utils.audio.pcm import Samples


def weights(folder: Path, content: bytes, name: str = "embedding.ort") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_an_encoder_is_called_by_what_is_in_its_files(tmp_path: Path) -> None:
    one, same, other = (weights(tmp_path / name, name[:1].encode()) for name in ("a", "a2", "b"))
    assert own_name("voices", one) == own_name("voices", same)
    assert own_name("voices", one).startswith("voices-")
    assert len({own_name("voices", *files) for files in ([one], [other], [one, other])}) == 3


def test_the_known_weights_are_those_of_the_catalogue() -> None:
    files = {entry.id: {spec.path: spec.sha256 for spec in entry.files} for entry in read_catalogue(_DATA).models}
    networks = {sha256 for model in PULLED for path, sha256 in files[model].items() if path.endswith(".ort")}
    assert networks == SHA256
    assert files["ge2e"]["pretrained.pt"] == ge2e.WEIGHTS_SHA256


def test_what_lies_in_another_folder_is_the_users_own(tmp_path: Path) -> None:
    path = weights(tmp_path / "mine", b"weights")
    assert is_own(path, EngineContext(model=path.parent, model_id="mine"))
    # Of a pulled model it is the catalogue's that is damaged, but not what an option names.
    assert not is_own(path, EngineContext(model=path.parent, model_id="wespeaker-resnet34-lm"))
    assert is_own(path, EngineContext(model=tmp_path / "pulled", model_id="wespeaker-resnet34-lm"))


@pytest.mark.parametrize("vector", [[np.nan, 1.0], [0.0, 0.0], None])
def test_an_encoder_without_a_vector_for_a_tone_is_broken(
    monkeypatch: pytest.MonkeyPatch, vector: list[float] | None
) -> None:
    def embed(_self: FakeDiarizer, _samples: Samples) -> Vector:
        if vector is None:
            raise InvalidAudio("too little speech")
        return np.array(vector, dtype=np.float32)

    engine = FakeDiarizer(EngineContext(model_id="mine"))
    engine.check_computes()
    monkeypatch.setattr(FakeDiarizer, "embed", embed)
    with pytest.raises(ModelBroken, match="mine computes nonsense"):
        engine.check_computes()


@pytest.mark.e2e
class TestFolders:
    """Folders with a speaker encoder for the engine fast."""

    @pytest.fixture
    def pulled(self, model_dir: Callable[[str], Path]) -> EngineContext:
        folder = model_dir("wespeaker-resnet34-lm")
        return EngineContext(model=folder, model_id=folder.name, threads=1)

    @pytest.fixture
    def proofs(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """How often an engine was compared with the stored answers."""
        asked: list[str] = []
        monkeypatch.setattr(fast, "prove", lambda **_: asked.append("asked"))
        return asked

    def loaded(self, context: EngineContext) -> FastEngine:
        engine = FastEngine(context)
        engine.load()
        return engine

    def test_anybodys_encoder_is_taken_for_what_it_is(
        self, pulled: EngineContext, proofs: list[str], tmp_path: Path
    ) -> None:
        assert pulled.model is not None
        own = weights(tmp_path / "mine", as_onnx(pulled.model / "embedding.ort"), "embedding.onnx").parent
        facts = detect(own)
        assert facts is not None
        assert facts.engine == "fast"
        engine = self.loaded(replace(pulled, model=own, model_id="mine"))
        assert (proofs, engine.facts.model) == ([], own_name("embedding", own / "embedding.onnx"))

    def test_a_copy_of_ours_is_ours(self, pulled: EngineContext, proofs: list[str], tmp_path: Path) -> None:
        assert pulled.model is not None
        copy = shutil.copytree(pulled.model, tmp_path / "copy")
        for context in (pulled, replace(pulled, model=copy, model_id="copy")):
            assert self.loaded(context).facts == WESPEAKER
        assert len(proofs) == 2
