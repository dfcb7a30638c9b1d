"""Where somebody speaks in a file: the same spans whatever the blocks, none too long, and through the worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from asr.speech_spans import SpanOptions, speech_spans
from asr.transcript import VadOptions
from asr.worker import AsrWorker
from core.scheduler import Cancelled
from core.worker import CallContext
from utils.audio import vad
from utils.audio.pcm import Audio, PcmFile, Samples
from utils.audio.spans import Span

RATE = 16_000
FRAME = 512
QUICK = VadOptions(min_speech_ms=0, min_silence_ms=200, speech_pad_ms=50)
CONFIG: dict[str, Any] = {
    "engine": "fake",
    "model": None,
    "model_id": "a-fake",
    "device": "auto",
    "compute_type": "default",
    "threads": 0,
    "workers": 1,
    "cache": None,
    "engine_options": {},
}


@pytest.fixture
def loud_is_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is positive at the beginning of a frame is speech."""
    monkeypatch.setattr(vad._Model, "_run", lambda _, samples: [float(each > 0) for each in samples[64::FRAME]])


@pytest.fixture
def worker() -> Iterator[AsrWorker]:
    made = AsrWorker(CONFIG)
    made.load()
    yield made
    made.close()


def voiced(*seconds: float) -> Samples:
    """Speech and silence in turn, so many seconds each."""
    parts = [np.full(round(each * RATE), 0.5 * (-1) ** n, dtype=np.float32) for n, each in enumerate(seconds)]
    return np.concatenate(parts)


def blocks(samples: Samples, size: int) -> Iterator[Samples]:
    return (samples[at : at + size] for at in range(0, len(samples), size))


def written(samples: Samples, folder: Path) -> PcmFile:
    path = folder / "audio.s16"
    path.write_bytes(Audio(samples, RATE).to_s16())
    return PcmFile(path, len(samples), RATE)


def spans(pcm: PcmFile, samples: Samples, options: SpanOptions, size: int = RATE) -> list[Span]:
    return [span for found in speech_spans(pcm, blocks(samples, size), options) for span in found]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.integers(1, 60), min_size=1, max_size=12), size=st.integers(400, 60_000))
def test_blocks_of_any_size_have_the_spans_of_the_whole(loud_is_speech: None, frames: list[int], size: int) -> None:
    del loud_is_speech
    samples = voiced(*(count * FRAME / RATE for count in frames))
    pcm = PcmFile(Path("never-read"), len(samples), RATE)
    whole = vad.speech(Audio(samples, RATE), min_silence_ms=200, padding_ms=50)
    assert spans(pcm, samples, SpanOptions(vad=QUICK), size) == whole


def test_a_span_is_told_soon_after_its_end(loud_is_speech: None) -> None:
    del loud_is_speech
    samples = voiced(2, 60, 2)
    pcm = PcmFile(Path("never-read"), len(samples), RATE)
    told = [len(found) for found in speech_spans(pcm, blocks(samples, RATE), SpanOptions(vad=QUICK))]
    assert told.index(1) <= 3
    assert sum(told) == 2


def test_nothing_ends_behind_the_end_of_the_file(loud_is_speech: None) -> None:
    del loud_is_speech
    samples = voiced(2)
    shorter = PcmFile(Path("never-read"), len(samples) - 3, RATE)
    (span,) = spans(shorter, samples, SpanOptions(vad=QUICK))
    assert span == Span(0.0, shorter.duration)


def test_a_long_span_is_cut_into_parts_that_touch(loud_is_speech: None, tmp_path: Path) -> None:
    del loud_is_speech
    samples = voiced(10)
    found = spans(written(samples, tmp_path), samples, SpanOptions(vad=QUICK, max_seconds=3.0))
    assert len(found) >= 4
    assert (found[0].start, found[-1].end) == (0.0, 10.0)
    assert [span.end for span in found[:-1]] == [span.start for span in found[1:]]
    assert all(0 < span.duration <= 3.0 + 1e-9 for span in found)


def test_a_long_span_is_cut_where_there_is_a_pause(loud_is_speech: None, tmp_path: Path) -> None:
    del loud_is_speech
    samples = voiced(4, 0.5, 3.5)
    options = VadOptions(min_speech_ms=0, min_silence_ms=1000, speech_pad_ms=0)
    found = spans(written(samples, tmp_path), samples, SpanOptions(vad=options, max_seconds=6.0))
    assert [span.end for span in found] == pytest.approx([4.25, 8.0], abs=0.05)


def test_a_span_that_is_just_as_long_is_not_cut(loud_is_speech: None, tmp_path: Path) -> None:
    del loud_is_speech
    samples = voiced(3)
    options = SpanOptions(vad=QUICK, max_seconds=3.0)
    assert spans(written(samples, tmp_path), samples, options) == [Span(0.0, 3.0)]


# --- in the worker


def params(pcm: PcmFile, **options: Any) -> dict[str, Any]:
    return {"pcm": pcm.to_dict(), "spans": options}


def test_the_worker_tells_where_somebody_speaks(worker: AsrWorker, speech_data: Path, tmp_path: Path) -> None:
    spoken, rate = soundfile.read(speech_data / "en" / "jfk.wav", dtype="float32")
    silence = np.zeros(20 * rate, np.float32)
    pcm = written(np.concatenate([silence, spoken, silence, spoken, silence]), tmp_path)
    options = {"vad": {"min_silence_ms": 2000}, "max_seconds": None}
    events = list(worker.call("speech", orjson.loads(orjson.dumps(params(pcm, **options)))))
    assert {event.name for event in events} == {"spans"}
    found = [Span(*pair) for event in events for pair in orjson.loads(orjson.dumps(event.data))]
    assert (found[0].start, found[-1].end) == (pytest.approx(20, abs=1), pytest.approx(62, abs=1))
    assert not [span for span in found if span.end > 32 and span.start < 50]


def test_the_worker_has_nothing_to_tell_of_silence(worker: AsrWorker, tmp_path: Path) -> None:
    silent = written(np.zeros(12 * RATE, np.float32), tmp_path)
    assert list(worker.call("speech", params(silent))) == []


def test_the_worker_does_not_listen_for_nobody(worker: AsrWorker, tmp_path: Path) -> None:
    context = CallContext()
    context.cancel()
    with pytest.raises(Cancelled):
        list(worker.call("speech", params(written(voiced(1, 1), tmp_path)), context=context))


def test_the_worker_reads_the_numbers_strictly(worker: AsrWorker, tmp_path: Path) -> None:
    pcm = written(voiced(1), tmp_path)
    for wrong in ({"vad": {"threshold": "high"}}, {"max_seconds": "3"}):
        with pytest.raises(ValidationError):
            list(worker.call("speech", params(pcm, **wrong)))
