"""The networks of a diarization: where and how they run, and files of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from asr.diarization import networks
from asr.diarization.engines.community1 import Community1Engine
from asr.diarization.engines.fast import FastEngine
from asr.diarization.networks import Segmentation, SpeakerNetwork, as_onnx
from asr.diarization.reference import signal
from core.engines import Device, EngineContext
from core.errors import ModelBroken
from core.onnx import open_session


def test_threads_that_wait_leave_their_cores_to_the_transcription(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that spin take a quarter more processor time, which is the transcription's."""
    spins: list[str] = []

    def session(_model: Any, options: Any, **_: Any) -> None:
        spins.append(options.get_session_config_entry("session.intra_op.allow_spinning"))
        raise OSError("no model")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for work in (Segmentation, open_session):
        with pytest.raises(ModelBroken):
            work(tmp_path / "model.onnx", EngineContext())
    assert spins == ["0", "1"]


class NoGraph:
    """As utils.onnx_outputs.Graph of a speaker encoder."""

    def __init__(self, _model: memoryview) -> None:
        pass

    def read_by(self, _operator: str) -> tuple[str, ...]:
        return "pooled", "matrix", "bias"

    def made_by(self, *_operators: str) -> str:
        return "frames"

    def more_outputs(self, _names: Mapping[str, str]) -> bytes:
        return b""


@pytest.mark.parametrize("network", [Segmentation, SpeakerNetwork])
@pytest.mark.parametrize(
    ("device", "provider"),
    [
        ("cpu", ("CPUExecutionProvider", {})),
        ("cuda", ("CUDAExecutionProvider", {"device_id": "1"})),
        ("rocm", ("MIGraphXExecutionProvider", {"device_id": "1"})),
    ],
)
def test_the_networks_run_on_the_device_of_the_context(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: type[Segmentation] | type[SpeakerNetwork],
    device: Device,
    provider: tuple[str, dict[str, str]],
) -> None:
    asked: list[Any] = []

    def session(_model: Any, options: Any, providers: list[Any]) -> None:
        asked.append((providers[0], options.intra_op_num_threads))
        raise OSError("no model")

    there = ["MIGraphXExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(networks, "Graph", NoGraph)
    (tmp_path / "model.onnx").write_bytes(b"model")
    with pytest.raises(ModelBroken):
        network(tmp_path / "model.onnx", EngineContext(device=device, device_index=1, threads=3))
    assert asked == [(provider, 3)]


class TestOwnFiles:
    """Networks of the user's own, here those of diarization-community1 in files of other names."""

    @pytest.fixture
    def context(self, model_dir: Callable[[str], Path]) -> EngineContext:
        return EngineContext(model=model_dir("diarization-community1"), threads=1)

    @pytest.mark.e2e
    def test_an_onnx_encoder_hears_the_same_and_has_a_name_of_its_own(
        self, context: EngineContext, tmp_path: Path
    ) -> None:
        assert context.model is not None
        own = tmp_path / "mine.onnx"
        own.write_bytes(as_onnx(context.model / "embedding.ort"))
        ours = SpeakerNetwork(context.model / "embedding.ort", context)
        engine = FastEngine(replace(context, options={"embedding": str(own)}))
        engine.load()
        assert np.allclose(engine.embed(signal()), ours.embed(signal()), atol=1e-5)
        assert engine.facts.model.startswith("mine-")

    @pytest.mark.parametrize("option", ["segmentation", "embedding"])
    def test_a_file_that_is_not_there_is_a_broken_model(self, option: str, tmp_path: Path) -> None:
        engine = Community1Engine(EngineContext(model=tmp_path, options={option: str(tmp_path / "none.onnx")}))
        for name in ("segmentation.ort", "embedding.ort"):
            (tmp_path / name).touch()
        with pytest.raises(ModelBroken):
            engine.load()

    @pytest.mark.e2e
    @pytest.mark.parametrize(("option", "file"), [("segmentation", "embedding.ort"), ("embedding", "segmentation.ort")])
    def test_a_network_of_another_kind_is_refused_at_load(self, context: EngineContext, option: str, file: str) -> None:
        assert context.model is not None
        engine = Community1Engine(replace(context, options={option: str(context.model / file)}))
        with pytest.raises(ModelBroken, match="that can be used"):
            engine.load()
