"""The pyannote engine, on the result types of pyannote.core and pyannote.audio; without weights of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asr.diarization.clip import Clip
from asr.diarization.engine import DiarizeOptions, EncoderFacts, Turn
from asr.diarization.engines.pyannote import Hook, PyannoteEngine, converted, encoder_name
from core import engines
from core.engines import EngineContext
from core.errors import ConfigurationError, DeviceOutOfMemory, InternalError, InvalidAudio
from core.scheduler import Cancelled
from utils.audio.spans import Span

core = pytest.importorskip("pyannote.core", reason="pyannote.core comes with the dev extra")
pytestmark = pytest.mark.adapter

try:
    from pyannote.audio.pipelines.speaker_diarization import DiarizeOutput
except ImportError:  # the extra `pyannote` is not installed

    @dataclass
    class DiarizeOutput:  # type: ignore[no-redef]
        """As in pyannote.audio 4."""

        speaker_diarization: Any
        exclusive_speaker_diarization: Any
        speaker_embeddings: Any = None


Turns = list[tuple[float, float, str]]


def annotation(turns: Turns) -> Any:
    found = core.Annotation(uri="waveform")
    for track, (start, end, who) in enumerate(turns):
        found[core.Segment(start, end), track] = who
    return found


def output(turns: Turns, alone: Turns, vectors: Any = None) -> Any:
    return DiarizeOutput(
        speaker_diarization=annotation(turns),
        exclusive_speaker_diarization=annotation(alone),
        speaker_embeddings=vectors,
    )


# --- results ------------------------------------------------------------------------------------


def test_turns_vectors_and_the_exclusive_timeline_belong_together() -> None:
    turns = [(0.0, 2.0, "SPEAKER_01"), (1.5, 4.0, "SPEAKER_00"), (1.5, 4.0, "SPEAKER_01")]
    alone = [(0.0, 1.7, "SPEAKER_01"), (1.7, 4.0, "SPEAKER_00")]
    # Rows of vectors are in the order of labels(): SPEAKER_00 first, who talks second.
    found = converted(output(turns, alone, np.array([[0.0, 2.0], [3.0, 0.0]])), DiarizeOptions(), 10.0)
    assert found.turns == (Turn(0.0, 4.0, 0), Turn(1.5, 4.0, 1))
    assert found.exclusive == (Turn(0.0, 1.7, 0), Turn(1.7, 4.0, 1))
    assert {number: vector.tolist() for number, vector in found.embeddings.items()} == {0: [1.0, 0.0], 1: [0.0, 1.0]}


def test_a_speaker_whom_the_clustering_does_not_know_has_no_vector() -> None:
    turns = [(0.0, 1.0, "SPEAKER_00"), (2.0, 3.0, "SPEAKER_01")]
    found = converted(output(turns, turns, np.array([[1.0, 0.0], [0.0, 0.0]])), DiarizeOptions(), 10.0)
    assert found.speakers == (0, 1)
    assert list(found.embeddings) == [0]


def test_nobody_speaks() -> None:
    found = converted(output([], [], np.zeros((0, 256))), DiarizeOptions(), 10.0)
    assert (found.turns, found.exclusive, found.embeddings) == ((), (), {})


def test_a_legacy_pipeline_returns_the_annotation_alone() -> None:
    found = converted(annotation([(0.0, 2.0, "A"), (1.0, 3.0, "B")]), DiarizeOptions(), 10.0)
    assert found.turns == (Turn(0.0, 2.0, 0), Turn(1.0, 3.0, 1))
    assert found.exclusive == (Turn(0.0, 2.0, 0), Turn(2.0, 3.0, 1))


# --- calls --------------------------------------------------------------------------------------


class Encoder:
    dimension = 2

    def __init__(self, vector: list[float]) -> None:
        self.vector = vector
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, wave: Any) -> Any:
        self.shapes.append(wave.shape)
        return np.array([self.vector])


class Pipeline:
    """A pipeline that reports its steps as pyannote.audio's do, and keeps what it was told."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.told: dict[str, Any] = {}
        self.fails = fails
        self._embedding = Encoder([0.0, 5.0])

    def __call__(self, file: dict[str, Any], *, hook: Callable[..., None], **told: Any) -> Any:
        self.told = {**told, "shape": file["waveform"].shape, "sample_rate": file["sample_rate"]}
        hook("segmentation", None, file=file, total=2, completed=1)
        hook("segmentation", object(), file=file)
        hook("embeddings", None, file=file, total=4, completed=4)
        if self.fails:
            raise self.fails
        return output([(0.0, 1.0, "SPEAKER_00")], [(0.0, 1.0, "SPEAKER_00")])


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> PyannoteEngine:
    monkeypatch.setattr(PyannoteEngine, "missing", classmethod(lambda _: ()))
    monkeypatch.setattr(PyannoteEngine, "speech", lambda *_, **__: [Span(0.0, 1.0)])
    made = PyannoteEngine(EngineContext())
    made._torch = SimpleNamespace(from_numpy=lambda array: array, OutOfMemoryError=OutOfMemoryError)
    made._pipeline = Pipeline()
    made.facts = EncoderFacts(model="pyannote:test", size=2, verify=0.5, identify=0.5)
    return made


def second(seconds: float = 1.0) -> Clip:
    return Clip(np.full(round(16_000 * seconds), 0.1, np.float32))


def test_a_pipeline_is_told_what_is_asked_and_says_how_far_it_is(engine: PyannoteEngine) -> None:
    shares: list[float] = []
    found = engine.diarize(second(), DiarizeOptions(min_speakers=2, max_speakers=3), progress=shares.append)
    assert found.turns == (Turn(0.0, 1.0, 0),)
    assert engine._pipeline.told == {
        "num_speakers": None, "min_speakers": 2, "max_speakers": 3, "shape": (1, 16_000), "sample_rate": 16_000,
    }  # fmt: skip
    assert shares == pytest.approx([0.2, 0.2, 1.0])


def test_what_has_no_speech_is_not_given_to_the_pipeline(
    engine: PyannoteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyannoteEngine, "speech", lambda *_, **__: [])
    assert engine.diarize(second(), DiarizeOptions(), progress=lambda _: None).turns == ()
    assert engine.diarize(second(0.05), DiarizeOptions(), progress=lambda _: None).turns == ()
    assert engine._pipeline.told == {}


def test_a_cancelled_call_ends_as_one(engine: PyannoteEngine) -> None:
    def stop(_: float) -> None:
        raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        engine.diarize(second(), DiarizeOptions(), progress=stop)


@pytest.mark.parametrize(
    ("error", "becomes"), [(ValueError("odd"), InternalError), (OutOfMemoryError("full"), DeviceOutOfMemory)]
)
def test_errors_of_the_library_become_ours(engine: PyannoteEngine, error: Exception, becomes: type[Exception]) -> None:
    engine._pipeline = Pipeline(error)
    with pytest.raises(becomes) as raised:
        engine.diarize(second(), DiarizeOptions(), progress=lambda _: None)
    assert raised.type is becomes
    assert raised.value.__cause__ is error


def test_the_vector_of_a_voice_has_length_1(engine: PyannoteEngine) -> None:
    assert engine.embed(np.full(16_000, 0.1, np.float32)).tolist() == [0.0, 1.0]
    assert engine._pipeline._embedding.shapes == [(1, 1, 16_000)]


@pytest.mark.parametrize(("seconds", "vector"), [(0.4, [1.0, 0.0]), (1.0, [np.nan, 0.0]), (1.0, [0.0, 0.0])])
def test_too_little_speech_has_none(engine: PyannoteEngine, seconds: float, vector: list[float]) -> None:
    engine._pipeline._embedding = Encoder(vector)
    with pytest.raises(InvalidAudio) as raised:
        engine.embed(np.full(round(16_000 * seconds), 0.1, np.float32))
    assert raised.value.param == "file"


def test_shares_never_shrink() -> None:
    shares: list[float] = []
    hook = Hook(shares.append)
    hook("embeddings", None, total=2, completed=1)
    hook("segmentation", None, total=2, completed=2)
    hook("unheard of", None, total=2, completed=2)
    assert shares == pytest.approx([0.7, 0.7, 0.7])


def test_a_voice_does_not_wait_for_a_recording(engine: PyannoteEngine) -> None:
    with engine._lock:
        assert engine.embed(np.full(16_000, 0.1, np.float32)).tolist() == [0.0, 1.0]


def test_who_waits_for_another_recording_can_be_cancelled(engine: PyannoteEngine) -> None:
    def stop(_: float) -> None:
        raise Cancelled("nobody waits")

    with engine._lock, pytest.raises(Cancelled):
        engine.diarize(second(), DiarizeOptions(), progress=stop)
    assert not engine._lock.locked()


@pytest.mark.parametrize(
    ("model_id", "pipeline"),
    [
        ("pyannote", "pyannote/speaker-diarization-community-1"),
        ("pyannote/speaker-diarization-3.1", "pyannote/speaker-diarization-3.1"),
    ],
)
def test_the_models_name_says_which_pipeline(monkeypatch: pytest.MonkeyPatch, model_id: str, pipeline: str) -> None:
    monkeypatch.setattr(PyannoteEngine, "missing", classmethod(lambda _: ()))
    assert PyannoteEngine(EngineContext(model_id=model_id))._checkpoint() == pipeline


# --- what is installed --------------------------------------------------------------------------


def test_the_shared_namespace_is_not_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> object:
        if name == "pyannote.audio":
            raise ModuleNotFoundError(name)
        return object()

    monkeypatch.setattr(engines, "find_spec", find)
    assert PyannoteEngine.missing() == ("pyannote.audio",)
    with pytest.raises(ConfigurationError, match=r"voice-stack\[pyannote\]"):
        PyannoteEngine(EngineContext())


def test_a_pipeline_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyannote.audio", reason="the extra `pyannote` is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigurationError, match="no-such-pipeline"):
        PyannoteEngine(EngineContext(options={"pipeline": "nobody/no-such-pipeline"})).load()


# --- whose voices compare -----------------------------------------------------------------------


def test_an_encoder_in_a_folder_is_called_by_its_weights(tmp_path: Path) -> None:
    for folder, weights in (("one", b"1"), ("two", b"2")):
        (tmp_path / folder / "pipeline" / "embedding").mkdir(parents=True)
        (tmp_path / folder / "pipeline" / "config.yaml").write_text("params: {}")
        (tmp_path / folder / "pipeline" / "embedding" / "pytorch_model.bin").write_bytes(weights)
    one, two = (tmp_path / folder / "pipeline" for folder in ("one", "two"))
    name = encoder_name(str(one))
    assert name.startswith("pyannote:pipeline-")
    assert name == encoder_name(str(one / "config.yaml"))
    assert name != encoder_name(str(two))
    (one / "config.yaml").write_text("params: {clustering: {threshold: 0.5}}")
    assert name == encoder_name(str(one))


def test_an_encoder_of_the_hub_is_called_by_its_pipeline() -> None:
    assert encoder_name("pyannote/speaker-diarization-3.1") == "pyannote:speaker-diarization-3.1"
