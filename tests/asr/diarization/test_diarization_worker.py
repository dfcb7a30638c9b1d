"""The diarization worker's handler: params in, events out, with the fake engine and real files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pydantic import ValidationError

from asr.diarization.engine import DiarizeOptions
from asr.diarization.worker import VOICE_SECONDS, DiarizationWorker
from core.errors import ConfigurationError, InternalError, InvalidAudio, NotSupported
from core.scheduler import Cancelled
from core.worker import CallContext, Event

RATE = 16_000
CONFIG: dict[str, Any] = {
    "engine": "fake-diarizer",
    "model": None,
    "model_id": "a-fake",
    "device": "auto",
    "threads": 0,
    "workers": 2,
    "cache": None,
    "engine_options": {},
}


@contextmanager
def made(**options: Any) -> Iterator[DiarizationWorker]:
    worker = DiarizationWorker({**CONFIG, "engine_options": options})
    worker.load()
    try:
        yield worker
    finally:
        worker.close()


@pytest.fixture
def worker() -> Iterator[DiarizationWorker]:
    with made() as worker:
        yield worker
    worker.close()  # a second time


def recording(
    folder: Path, seconds: float, *, level: float = 3000, rate: int = RATE, name: str = "a"
) -> dict[str, Any]:
    """A file of noise, or of silence at level 0, as the params of a call."""
    frames = round(seconds * rate)
    path = folder / f"{name}.s16"
    path.write_bytes(np.random.default_rng(0).normal(0, level, frames).astype("<i2").tobytes())
    return {"path": str(path), "frames": frames, "sample_rate": rate, "channels": 1, "offset": 0}


def diarize(
    worker: DiarizationWorker, pcm: dict[str, Any], *, context: CallContext | None = None, **options: Any
) -> Iterator[Event]:
    # What crosses the pipe is JSON.
    params = orjson.loads(orjson.dumps({"pcm": pcm, "options": asdict(DiarizeOptions(**options))}))
    return worker.call("diarize", params, context=context)


def embed(worker: DiarizationWorker, pcm: dict[str, Any]) -> dict[str, Any]:
    (event,) = worker.call("embed", {"pcm": pcm})
    assert event.name == "embedding"
    found: dict[str, Any] = orjson.loads(orjson.dumps(event.data))
    return found


def test_facts_about_the_engine() -> None:
    facts = DiarizationWorker(CONFIG).load()
    assert {key: facts[key] for key in ("engine", "model", "device")} == {
        "engine": "fake-diarizer",
        "model": "a-fake",
        "device": "cpu",
    }
    assert facts["capabilities"]["overlap"]
    assert facts["encoder"]["model"] == "fake-voice"
    assert facts["encoder"]["identify"] > 0
    orjson.dumps(facts)


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_progress_grows_and_then_comes_the_diarization(worker: DiarizationWorker, tmp_path: Path, rate: int) -> None:
    events = list(diarize(worker, recording(tmp_path, 8, rate=rate)))
    assert [event.name for event in events] == ["progress"] * 4 + ["diarization"]
    assert [event.data["share"] for event in events[:-1]] == [0.25, 0.5, 0.75, 1.0]
    data = orjson.loads(orjson.dumps(events[-1].data))
    assert data["turns"] == data["exclusive"] == [[0.0, 2.0, 0], [2.0, 4.0, 1], [4.0, 6.0, 0], [6.0, 8.0, 1]]
    assert set(data["embeddings"]) == {"0", "1"}
    assert np.linalg.norm(data["embeddings"]["0"]) == pytest.approx(1, abs=1e-3)


def test_options_reach_the_engine(worker: DiarizationWorker, tmp_path: Path) -> None:
    events = list(diarize(worker, recording(tmp_path, 8), num_speakers=3))
    assert [turn[2] for turn in events[-1].data["turns"]] == [0, 1, 2, 0]


@pytest.mark.parametrize("seconds", [3.0, 0.0])
def test_silence_and_emptiness_have_no_turns(worker: DiarizationWorker, tmp_path: Path, seconds: float) -> None:
    events = list(diarize(worker, recording(tmp_path, seconds, level=0)))
    assert events[-1].data == {"turns": [], "exclusive": [], "embeddings": {}}


def test_what_the_engine_raises_is_raised(tmp_path: Path) -> None:
    with made(fail="error") as worker, pytest.raises(RuntimeError, match="told to fail"):
        list(diarize(worker, recording(tmp_path, 2)))


def test_a_cancelled_call_ends_at_the_next_step(tmp_path: Path) -> None:
    context = CallContext()
    with made(delay=0.05) as worker:
        events = diarize(worker, recording(tmp_path, 120), context=context)
        assert next(events).name == "progress"
        started = time.monotonic()
        context.cancel()
        with pytest.raises(Cancelled):
            list(events)
        assert time.monotonic() - started < 3
        assert list(diarize(worker, recording(tmp_path, 2)))[-1].name == "diarization"


def test_closing_early_frees_the_engine(tmp_path: Path) -> None:
    with made(delay=0.05) as worker:
        events = diarize(worker, recording(tmp_path, 120))
        assert next(events).name == "progress"
        started = time.monotonic()
        events.close()  # type: ignore[attr-defined]
        assert list(diarize(worker, recording(tmp_path, 4)))[-1].name == "diarization"
        assert time.monotonic() - started < 3


def test_what_is_short_does_not_wait_for_what_is_long(tmp_path: Path) -> None:
    with made(delay=0.2) as worker:
        long = diarize(worker, recording(tmp_path, 120, name="long"))
        assert next(long).name == "progress"
        started = time.monotonic()
        assert list(diarize(worker, recording(tmp_path, 2, name="short")))[-1].name == "diarization"
        embed(worker, recording(tmp_path, 2, name="voice"))
        assert time.monotonic() - started < 10
        long.close()  # type: ignore[attr-defined]


def test_a_voice_has_a_vector_and_its_seconds(worker: DiarizationWorker, tmp_path: Path) -> None:
    found = embed(worker, recording(tmp_path, 3, rate=48_000))
    assert found["seconds"] == 3.0
    assert np.linalg.norm(found["vector"]) == pytest.approx(1, abs=1e-3)


def test_no_more_is_listened_to_than_makes_a_voice(worker: DiarizationWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, VOICE_SECONDS + 10)
    assert embed(worker, pcm)["seconds"] == VOICE_SECONDS


@pytest.mark.parametrize(("seconds", "level"), [(3.0, 0), (0.3, 3000), (0, 0)])
def test_too_little_speech_is_told(worker: DiarizationWorker, tmp_path: Path, seconds: float, level: float) -> None:
    with pytest.raises(InvalidAudio) as caught:
        embed(worker, recording(tmp_path, seconds, level=level))
    assert caught.value.param == "file"


def test_an_engine_without_voices_says_so(tmp_path: Path) -> None:
    worker = DiarizationWorker({**CONFIG, "engine": "channels"})
    assert worker.load()["encoder"] is None
    with pytest.raises(NotSupported):
        embed(worker, recording(tmp_path, 2))
    worker.close()


def test_audio_that_is_taken_away_is_no_fault_of_the_engine(worker: DiarizationWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, 2)
    Path(pcm["path"]).unlink()
    with pytest.raises(InternalError, match="taken away"):
        list(diarize(worker, pcm))


def test_what_is_no_call_is_refused(worker: DiarizationWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, 1)
    with pytest.raises(InternalError):
        list(worker.call("transcribe", {"pcm": pcm}))
    with pytest.raises(ValidationError):
        list(worker.call("diarize", {"pcm": pcm, "other": 1}))
    with pytest.raises(InternalError):
        list(DiarizationWorker(CONFIG).call("diarize", {"pcm": pcm}))


def test_a_wrong_configuration_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no_such"):
        DiarizationWorker({**CONFIG, "engine_options": {"no_such": 1}}).load()
