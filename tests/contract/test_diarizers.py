"""What every diarization engine must do, asserted the same way over each of them: a new engine adds one line to CASES.

pyannote and sherpa-onnx need libraries and models of the user's own; their adapters have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization import engine_factory
from asr.diarization.clip import Clip
from asr.diarization.engine import (
    SAMPLE_RATE,
    Diarization,
    DiarizationEngine,
    DiarizeOptions,
    SpeakerEncoder,
    Turn,
)
from core.engines import EngineContext
from core.errors import InvalidAudio, NotSupported
from utils.audio.pcm import Samples

WORKERS = 2
ADAPTERS = {"pyannote", "sherpa-onnx"}


@dataclass(frozen=True)
class Case:
    name: str
    model: str | None = None
    hears: bool = True
    """Whether it takes real speech for the engine to hear anybody."""
    channels: int = 1
    speakers: int | None = 2
    """How many of the two it finds; None where that is not promised."""


CASES = [
    pytest.param(Case("fake-diarizer", hears=False), id="fake-diarizer"),
    pytest.param(Case("channels", channels=2), id="channels"),
    pytest.param(Case("community1", "diarization-community1"), id="community1", marks=pytest.mark.e2e),
    pytest.param(Case("fast", "wespeaker-resnet34-lm"), id="fast", marks=pytest.mark.e2e),
    pytest.param(Case("ge2e", "ge2e", speakers=None), id="ge2e", marks=pytest.mark.e2e),
]


class Stopped(Exception):
    """Nobody waits any more."""


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def make(case: Case, model_dir: Callable[[str], Path]) -> Callable[[], DiarizationEngine]:
    """A function that makes an engine of the case, not loaded."""
    folder = model_dir(case.model) if case.model else None
    context = EngineContext(model=folder, model_id=case.model or "", threads=1, workers=WORKERS)
    return lambda: engine_factory.registry().get(case.name)(context)


@pytest.fixture(scope="module")
def engine(make: Callable[[], DiarizationEngine]) -> Iterator[DiarizationEngine]:
    loaded = make()
    loaded.load()
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def samples(case: Case, request: pytest.FixtureRequest) -> Samples:
    """Half a minute in which two people talk; noise for an engine that does not listen."""
    if not case.hears:
        return np.random.default_rng(1).normal(0, 0.1, 11 * SAMPLE_RATE).clip(-1, 1).astype(np.float32)
    data: Path = request.getfixturevalue("speech_data")
    if case.channels == 1:
        return read(data / "conversation" / "sample.wav")
    one = read(data / "en" / "jfk.wav")
    rest = np.zeros_like(one)
    return np.stack([np.concatenate([one, rest]), np.concatenate([rest, one])], axis=1)


@pytest.fixture(scope="module")
def found(engine: DiarizationEngine, samples: Samples) -> Diarization:
    return diarize(engine, samples)


def read(path: Path) -> Samples:
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == SAMPLE_RATE
    return samples


def diarize(engine: DiarizationEngine, samples: Samples, **options: Any) -> Diarization:
    return engine.diarize(Clip(samples), DiarizeOptions(**options), progress=lambda _: None)


def silence(case: Case, count: int) -> Samples:
    return np.zeros((count, case.channels), dtype=np.float32)


def test_every_engine_of_ours_has_a_case() -> None:
    assert {param.values[0].name for param in CASES} == set(engine_factory.TABLE) - ADAPTERS


@pytest.mark.parametrize("count", [0, 1, 100, 400, 1600, 3 * SAMPLE_RATE])
def test_silence_has_no_turns(case: Case, engine: DiarizationEngine, count: int) -> None:
    assert diarize(engine, silence(case, count)) == Diarization(turns=(), exclusive=())


def test_turns_lie_within_the_recording_and_are_in_order(found: Diarization, samples: Samples) -> None:
    assert found.turns
    for turns in (found.turns, found.exclusive):
        assert list(turns) == sorted(turns)
        assert all(0 <= turn.start < turn.end <= len(samples) / SAMPLE_RATE for turn in turns)


def test_speakers_are_numbered_as_they_begin_to_talk(case: Case, found: Diarization) -> None:
    first = list(dict.fromkeys(turn.speaker for turn in found.turns))
    assert first == list(range(len(first)))
    assert found.speakers == tuple(first)
    assert case.speakers in {None, len(first)}


def test_of_the_exclusive_turns_no_two_overlap(found: Diarization) -> None:
    assert found.exclusive
    assert {turn.speaker for turn in found.exclusive} <= set(found.speakers)
    for one, other in pairwise(found.exclusive):
        assert one.end <= other.start


def test_only_who_can_says_that_two_talk_at_once(engine: DiarizationEngine, found: Diarization) -> None:
    if not engine.capabilities.overlap:
        assert found.turns == found.exclusive


def test_speakers_have_vectors_where_the_engine_has_any(engine: DiarizationEngine, found: Diarization) -> None:
    if not isinstance(engine, SpeakerEncoder):
        assert found.embeddings == {}
        return
    assert set(found.embeddings) == set(found.speakers)
    for vector in found.embeddings.values():
        check_vector(engine, vector)


def check_vector(engine: SpeakerEncoder, vector: np.ndarray) -> None:
    assert vector.dtype == np.float32
    assert vector.shape == (engine.facts.size,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_same_input_gives_the_same_turns(engine: DiarizationEngine, samples: Samples, found: Diarization) -> None:
    again = diarize(engine, samples)
    assert (again.turns, again.exclusive) == (found.turns, found.exclusive)


def test_calls_at_once_give_what_calls_in_turn_give(engine: DiarizationEngine, samples: Samples) -> None:
    both = [samples, samples[: len(samples) // 2]]
    wanted = [diarize(engine, one).turns for one in both]
    with ThreadPoolExecutor(WORKERS) as pool:
        assert [one.turns for one in pool.map(lambda one: diarize(engine, one), both)] == wanted


def test_progress_only_grows(engine: DiarizationEngine, samples: Samples) -> None:
    shares: list[float] = []
    engine.diarize(Clip(samples), DiarizeOptions(), progress=shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    assert shares[-1] > 0.5


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_progress_raises_ends_the_work(engine: DiarizationEngine, samples: Samples, share: float) -> None:
    def progress(done: float) -> None:
        if done >= share:
            raise Stopped

    with pytest.raises(Stopped):
        engine.diarize(Clip(samples), DiarizeOptions(), progress=progress)
    assert diarize(engine, samples).turns


def test_the_number_of_speakers_can_be_given(engine: DiarizationEngine, samples: Samples) -> None:
    if not engine.capabilities.hints:
        pytest.skip("the engine says that it cannot be told")
    assert len(diarize(engine, samples, num_speakers=1).speakers) == 1
    assert len(diarize(engine, samples, max_speakers=1).speakers) == 1
    assert len(diarize(engine, samples, num_speakers=2).speakers) == 2
    assert len(diarize(engine, samples, min_speakers=2, max_speakers=2).speakers) == 2


def test_a_threshold_can_be_given(engine: DiarizationEngine, samples: Samples) -> None:
    if not engine.capabilities.threshold:
        pytest.skip("the engine says that it has none")
    assert diarize(engine, samples, threshold=2.0, max_speakers=9).turns


def test_short_turns_are_dropped_and_short_pauses_closed(engine: DiarizationEngine, samples: Samples) -> None:
    found = diarize(engine, samples, min_on=1.0, min_off=0.5)
    for turns in (found.turns, found.exclusive):
        assert all(turn.end - turn.start >= 1.0 for turn in turns)
    assert not any(pauses(found.turns, shorter=0.5))


def pauses(turns: tuple[Turn, ...], *, shorter: float) -> Iterator[float]:
    """Pauses of a speaker that are not as long."""
    for speaker in {turn.speaker for turn in turns}:
        own = [turn for turn in turns if turn.speaker == speaker]
        for one, other in pairwise(own):
            if other.start - one.end < shorter:
                yield other.start - one.end


def test_a_voice_has_the_same_vector_each_time(engine: DiarizationEngine, samples: Samples) -> None:
    if not isinstance(engine, SpeakerEncoder):
        pytest.skip("the engine has no vectors")
    voice = samples[: 4 * SAMPLE_RATE]
    vector = engine.embed(voice)
    check_vector(engine, vector)
    assert np.array_equal(engine.embed(voice), vector)


@pytest.mark.parametrize("count", [0, 1, 400, 1000])
def test_hardly_any_audio_has_no_vector(engine: DiarizationEngine, samples: Samples, count: int) -> None:
    if not isinstance(engine, SpeakerEncoder):
        pytest.skip("the engine has no vectors")
    with pytest.raises(InvalidAudio) as caught:
        engine.embed(samples[:count])
    assert caught.value.param == "file"


def test_a_stream_is_there_where_the_engine_says_so(engine: DiarizationEngine, samples: Samples) -> None:
    if not engine.capabilities.streaming:
        with pytest.raises(NotSupported):
            engine.open_stream(DiarizeOptions())
        return
    stream = engine.open_stream(DiarizeOptions())
    step = SAMPLE_RATE // 4
    turns: list[Turn] = []
    for first in range(0, len(samples), step):
        turns += stream.feed(samples[first : first + step], last=first + step >= len(samples))
    assert turns == sorted(turns)
    assert turns[0].speaker == 0
    assert all(one.end <= other.start for one, other in pairwise(turns))
    assert turns[-1].end <= len(samples) / SAMPLE_RATE


def test_the_samples_are_left_as_they_were(engine: DiarizationEngine, samples: Samples) -> None:
    before = samples.copy()
    diarize(engine, samples)
    assert np.array_equal(samples, before)


def test_close_twice_is_fine(make: Callable[[], DiarizationEngine]) -> None:
    engine = make()
    engine.load()
    engine.close()
    engine.close()
    make().close()  # and without a load
