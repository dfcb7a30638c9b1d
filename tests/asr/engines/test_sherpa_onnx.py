"""The sherpa-onnx engine: what the library is told, and what becomes of its segments; without models of theirs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asr.diarization.clip import Clip
from asr.diarization.engine import DiarizeOptions, EncoderFacts, Turn
from asr.diarization.engines import sherpa_onnx
from asr.diarization.engines.sherpa_onnx import SherpaOnnxEngine, allowed, checked, longest
from asr.diarization.own_weights import own_name
from core.engines import EngineContext
from core.errors import ConfigurationError, InvalidAudio, ModelBroken
from core.scheduler import Cancelled
from utils.audio.spans import Span

pytestmark = pytest.mark.adapter


@dataclass(frozen=True)
class Segment:
    """As OfflineSpeakerDiarizationSegment, which only the library itself can make."""

    start: float
    end: float
    speaker: int


TWO = [Segment(0.0, 2.0, 1), Segment(1.0, 4.0, 0)]
THREE = [*TWO, Segment(5.0, 6.0, 2)]


class Diarizer:
    """As OfflineSpeakerDiarization: finds what was laid down for the number of clusters it is told."""

    def __init__(self, found: Mapping[int, list[Segment]]) -> None:
        self.found = found
        self.configs: list[Any] = []

    def set_config(self, config: Any) -> None:
        self.configs.append(config)

    def process(self, samples: Any, callback: Callable[[int, int], int]) -> Any:
        assert samples.dtype == np.float32
        for done in (1, 2):
            assert callback(done, 2) == 0
        found = self.found[self.configs[-1].clustering.num_clusters]
        return SimpleNamespace(sort_by_start_time=lambda: sorted(found, key=lambda one: one.start))


class Extractor:
    """As SpeakerEmbeddingExtractor: the vector is the sum of the samples and their number."""

    dim = 2

    def create_stream(self) -> Any:
        stream = SimpleNamespace(samples=None, finished=False)

        def accept(*, sample_rate: int, waveform: Any) -> None:
            assert sample_rate == 16_000
            stream.samples = waveform

        stream.accept_waveform = accept
        stream.input_finished = lambda: setattr(stream, "finished", True)
        return stream

    def is_ready(self, stream: Any) -> bool:
        return bool(stream.finished and len(stream.samples) >= 1_600)

    def compute(self, stream: Any) -> list[float]:
        return [float(np.sum(stream.samples)), float(len(stream.samples))]


def _namespace(**given: Any) -> SimpleNamespace:
    return SimpleNamespace(**given)


LIBRARY = SimpleNamespace(
    OfflineSpeakerDiarizationConfig=_namespace,
    OfflineSpeakerSegmentationModelConfig=_namespace,
    OfflineSpeakerSegmentationPyannoteModelConfig=_namespace,
    SpeakerEmbeddingExtractorConfig=_namespace,
    FastClusteringConfig=_namespace,
)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SherpaOnnxEngine:
    monkeypatch.setattr(SherpaOnnxEngine, "missing", classmethod(lambda _: ()))
    monkeypatch.setattr(SherpaOnnxEngine, "speech", lambda *_, **__: [Span(0.0, 1.0)])
    made = SherpaOnnxEngine(EngineContext(threads=3, options={"threshold": 0.7}))
    made._library = LIBRARY
    made._paths = Path("segmentation.onnx"), Path("voices.onnx")
    made._diarizer = Diarizer({-1: THREE, 2: TWO, 4: THREE})
    made._extractor = Extractor()
    made.facts = EncoderFacts(model="sherpa-onnx:voices", size=2, verify=0.5, identify=0.5)
    return made


def silence(seconds: float = 6.0) -> Clip:
    return Clip(np.zeros(round(16_000 * seconds), np.float32))


def test_segments_become_turns_with_a_vector_of_each_voice_alone(engine: SherpaOnnxEngine) -> None:
    shares: list[float] = []
    found = engine.diarize(silence(), DiarizeOptions(), progress=shares.append)
    assert found.turns == (Turn(0.0, 2.0, 0), Turn(1.0, 4.0, 1), Turn(5.0, 6.0, 2))
    assert found.exclusive == (Turn(0.0, 2.0, 0), Turn(2.0, 4.0, 1), Turn(5.0, 6.0, 2))
    assert {number: vector.tolist() for number, vector in found.embeddings.items()} == {n: [0.0, 1.0] for n in range(3)}
    assert shares == [0.5, 1.0]


def test_the_library_is_told_threads_models_and_threshold(engine: SherpaOnnxEngine) -> None:
    engine.diarize(silence(), DiarizeOptions(threshold=0.9), progress=lambda _: None)
    engine.diarize(silence(), DiarizeOptions(), progress=lambda _: None)
    first, second = engine._diarizer.configs
    assert (first.clustering.num_clusters, first.clustering.threshold, second.clustering.threshold) == (-1, 0.9, 0.7)
    assert first.segmentation.pyannote.model == "segmentation.onnx"
    assert first.embedding.model == "voices.onnx"
    assert first.segmentation.num_threads == first.embedding.num_threads == 3
    assert (first.min_duration_on, first.min_duration_off) == (0.0, 0.0)


def test_a_number_of_speakers_is_asked_for_at_once(engine: SherpaOnnxEngine) -> None:
    found = engine.diarize(silence(), DiarizeOptions(num_speakers=2), progress=lambda _: None)
    assert [config.clustering.num_clusters for config in engine._diarizer.configs] == [2]
    assert found.speakers == (0, 1)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (DiarizeOptions(max_speakers=2), [-1, 2]),
        (DiarizeOptions(min_speakers=4), [-1, 4]),
        (DiarizeOptions(min_speakers=1, max_speakers=3), [-1]),
    ],
)
def test_bounds_are_kept_by_asking_once_more(
    engine: SherpaOnnxEngine, options: DiarizeOptions, asked: list[int]
) -> None:
    shares: list[float] = []
    engine.diarize(silence(), options, progress=shares.append)
    assert [config.clustering.num_clusters for config in engine._diarizer.configs] == asked
    assert shares == [0.25, 0.5, 0.75, 1.0][: 2 * len(asked)]


@pytest.mark.parametrize(
    ("count", "least", "most", "expected"), [(3, None, 2, 2), (1, 2, None, 2), (2, 1, 4, 2), (0, 2, 4, 0), (5, 3, 3, 3)]
)
def test_the_nearest_number_within_the_bounds(count: int, least: int | None, most: int | None, expected: int) -> None:
    assert allowed(count, DiarizeOptions(min_speakers=least, max_speakers=most)) == expected


def test_a_cancelled_call_ends_as_one(engine: SherpaOnnxEngine) -> None:
    def stop(_: float) -> None:
        raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        engine.diarize(silence(), DiarizeOptions(), progress=stop)


def test_a_recording_is_done_with_before_the_next_is_configured(engine: SherpaOnnxEngine) -> None:
    inside, on = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        inside.set()
        assert on.wait(10)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(engine.diarize, silence(), DiarizeOptions(num_speakers=2), progress=wait)
        assert inside.wait(10)
        second = threads.submit(engine.diarize, silence(), DiarizeOptions(num_speakers=4), progress=lambda _: None)
        # A voice meanwhile waits for nobody.
        assert engine.embed(np.zeros(16_000, np.float32)).tolist() == [0.0, 1.0]
        assert [config.clustering.num_clusters for config in engine._diarizer.configs] == [2]
        on.set()
        assert (len(first.result(10).speakers), len(second.result(10).speakers)) == (2, 3)


def test_who_waits_for_another_recording_can_be_cancelled(engine: SherpaOnnxEngine) -> None:
    def stop(_: float) -> None:
        raise Cancelled("nobody waits")

    with engine._lock, pytest.raises(Cancelled):
        engine.diarize(silence(), DiarizeOptions(), progress=stop)


def test_what_has_no_speech_is_not_given_to_the_library(
    engine: SherpaOnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SherpaOnnxEngine, "speech", lambda *_, **__: [])
    assert engine.diarize(silence(), DiarizeOptions(), progress=lambda _: None).turns == ()
    assert engine._diarizer.configs == []


def test_too_little_speech_has_no_vector(engine: SherpaOnnxEngine) -> None:
    assert engine.embed(np.zeros(16_000, np.float32)).tolist() == [0.0, 1.0]
    with pytest.raises(InvalidAudio) as raised:
        engine.embed(np.zeros(4_000, np.float32))
    assert raised.value.param == "file"


def test_the_longest_turns_make_the_voice() -> None:
    samples = np.arange(60 * 16_000, dtype=np.float32)
    kept = longest(samples, [Turn(0.0, 1.0, 0), Turn(10.0, 35.0, 0), Turn(40.0, 48.0, 0)])
    assert len(kept) == 30 * 16_000
    assert kept[0] == 10 * 16_000
    assert kept[25 * 16_000] == 40 * 16_000


def test_models_must_be_named_and_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(SherpaOnnxEngine, "missing", classmethod(lambda _: ()))
    with pytest.raises(ConfigurationError, match="the option 'segmentation'"):
        SherpaOnnxEngine(EngineContext())._file("segmentation")
    with pytest.raises(ConfigurationError, match=r"no embedding\.onnx"):
        SherpaOnnxEngine(EngineContext(model=tmp_path))._file("embedding")


def test_a_file_that_the_library_would_end_the_process_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "segmentation.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelBroken, match=r"segmentation\.onnx cannot be loaded"):
        checked(path, ("num_speakers",))


def test_the_library_takes_our_configuration(tmp_path: Path) -> None:
    library = pytest.importorskip("sherpa_onnx", reason="the extra `sherpa` is not installed")
    engine = SherpaOnnxEngine(EngineContext(threads=2))
    engine._library = library
    engine._paths = tmp_path / "segmentation.onnx", tmp_path / "voices.onnx"
    config = engine._config(3, 0.25)
    assert (config.clustering.num_clusters, config.clustering.threshold) == (3, 0.25)
    assert (config.segmentation.num_threads, config.embedding.num_threads) == (2, 2)
    assert config.embedding.model == str(tmp_path / "voices.onnx")
    assert not config.validate()  # there are no such files


def test_voices_of_other_weights_are_no_voices_of_this_encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def opened(_config: Any) -> Any:
        return SimpleNamespace(sample_rate=16_000)

    library = SimpleNamespace(
        **{
            **vars(LIBRARY),
            "OfflineSpeakerDiarizationConfig": lambda **_: SimpleNamespace(validate=lambda: True),
            "OfflineSpeakerDiarization": opened,
            "SpeakerEmbeddingExtractor": lambda _: Extractor(),
        }
    )
    monkeypatch.setitem(sys.modules, "sherpa_onnx", library)
    monkeypatch.setattr(SherpaOnnxEngine, "missing", classmethod(lambda _: ()))
    monkeypatch.setattr(sherpa_onnx, "checked", lambda *_: None)
    names = []
    for weights in ("one", "other"):
        folder = tmp_path / weights
        folder.mkdir()
        for name in ("segmentation.onnx", "embedding.onnx"):
            (folder / name).write_text(weights)
        engine = SherpaOnnxEngine(EngineContext(model=folder))
        engine.load()
        names.append(engine.facts.model)
    assert names == [own_name("sherpa-onnx:embedding", tmp_path / name / "embedding.onnx") for name in ("one", "other")]
    assert len(set(names)) == 2
