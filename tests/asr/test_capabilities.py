"""What GET /v1/capabilities tells of models, and what a service asks of those that translate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripts.voice_gguf import write

from asr.service import AsrService
from asr.settings import AsrSettings
from asr.transcript import TranscribeOptions
from core.errors import UnsupportedTask
from core.host import ModelHost
from core.settings import Places


def service_of(tmp_path: Path, **settings: Any) -> AsrService:
    places = Places.model_construct(
        cache=tmp_path / "cache", state=tmp_path / "state", tmp=tmp_path / "tmp", models=None
    )
    return AsrService(AsrSettings(preload=False, places=places, **settings))


@pytest.mark.parametrize(("architecture", "translates"), [("canary", True), ("canary-ctc", False), ("voxtral", False)])
def test_a_model_that_translates_is_asked_to(tmp_path: Path, architecture: str, translates: bool) -> None:
    write(tmp_path / "model.gguf", {"general.architecture": architecture}, {})
    service = service_of(tmp_path, model=str(tmp_path / "model.gguf"))
    options = TranscribeOptions(task="translate", language="de")
    if translates:
        service.check(options, model=service.host.default())
    else:
        with pytest.raises(UnsupportedTask):
            service.check(options, model=service.host.default())


def test_a_loaded_model_is_shown_with_what_its_engine_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = service_of(tmp_path, engine="fake", model="fake")
    assert service.own_capabilities()["loaded"] == []
    facts = {"languages": ["de"], "streams": True, "library_features": ["beam-search"], "slots": 1}
    monkeypatch.setattr(ModelHost, "worker", lambda *_: SimpleNamespace(facts=facts))
    told = {"id": "fake", "languages": ["de"], "live_streams": True, "library_features": ["beam-search"]}
    assert service.own_capabilities()["loaded"] == [told]
