"""The ASR worker's handler: params in, events out, with the fake engine and real files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pydantic import ValidationError

from asr.engines.fake import FakeAsrEngine
from asr.transcript import TranscribeOptions, VadOptions
from asr.worker import AsrWorker
from core.errors import ConfigurationError, InsufficientMemory, InternalError, UnsupportedParameter
from core.worker import Event

CONFIG: dict[str, Any] = {
    "engine": "fake",
    "model": None,
    "model_id": "a-fake",
    "device": "auto",
    "device_index": 0,
    "compute_type": "default",
    "threads": 0,
    "workers": 1,
    "cache": None,
    "engine_options": {},
}


@pytest.fixture
def worker() -> Iterator[AsrWorker]:
    made = AsrWorker(CONFIG)
    made.load()
    yield made
    made.close()
    made.close()


def recording(folder: Path, *stretches: tuple[str, float], rate: int = 16_000, channels: int = 1) -> dict[str, Any]:
    """A file of silence and noise, as the params of a call."""
    noise = np.random.default_rng(0)
    parts = [
        np.zeros(round(seconds * rate)) if what == "silence" else noise.normal(0, 3000, round(seconds * rate))
        for what, seconds in stretches
    ]
    samples = np.repeat(np.concatenate(parts).astype("<i2"), channels)
    path = folder / "audio.s16"
    path.write_bytes(samples.tobytes())
    frames = len(samples) // channels
    return {"path": str(path), "frames": frames, "sample_rate": rate, "channels": channels, "offset": 0}


def transcribe(worker: AsrWorker, pcm: dict[str, Any], **options: Any) -> Iterator[Event]:
    # What crosses the pipe is JSON.
    params = orjson.loads(orjson.dumps({"pcm": pcm, "options": asdict(TranscribeOptions(**options))}))
    return worker.call("transcribe", params, b"")


def data(events: list[Event], name: str) -> list[Any]:
    return [event.data for event in events if event.name == name]


def test_facts_about_the_engine() -> None:
    facts = AsrWorker(CONFIG).load()
    assert facts["languages"]
    assert {key: facts[key] for key in ("engine", "model", "device", "compute_type")} == {
        "engine": "fake",
        "model": "a-fake",
        "device": "cpu",
        "compute_type": "default",
    }


def test_info_comes_first_then_numbered_segments_then_progress(worker: AsrWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("silence", 6), ("noise", 8), ("silence", 4), rate=48_000, channels=2)
    events = list(transcribe(worker, pcm, word_timestamps=True, vad=VadOptions(threshold=0.3)))
    assert [event.name for event in events] == ["info", "segment", "segment", "progress"]
    assert events[0].data == {"language": "en", "language_probability": 0.9, "duration": 18.0}
    assert [(segment.id, segment.start, segment.end) for segment in data(events, "segment")] == [
        (0, 5.0, 10.0),
        (1, 10.0, 15.0),
    ]
    assert all(segment.words for segment in data(events, "segment"))
    assert data(events, "progress") == [{"seconds": 18.0}]
    orjson.dumps([event.data for event in events])


def test_silence_and_emptiness_say_what_was_asked_for(worker: AsrWorker, tmp_path: Path) -> None:
    for seconds in (4.0, 0.0):
        pcm = recording(tmp_path, ("silence", seconds))
        if seconds == 0.0:
            Path(pcm["path"]).write_bytes(b"\0\0")  # an empty file cannot be mapped; no frame of it is used
        events = list(transcribe(worker, pcm))
        assert data(events, "info") == [{"language": None, "language_probability": 0.0, "duration": seconds}]
        assert data(events, "segment") == []
        (info,) = data(list(transcribe(worker, pcm, language="de")), "info")
        assert (info["language"], info["language_probability"]) == ("de", 1.0)


def test_long_audio_comes_in_pieces_with_the_times_of_the_whole(worker: AsrWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("silence", 601), ("noise", 100), ("silence", 10), rate=8000)
    events = list(transcribe(worker, pcm, word_timestamps=True))
    segments = data(events, "segment")
    assert [event.name for event in events][:2] == ["progress", "info"], "the first piece is silent"
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert min(segment.start for segment in segments) == pytest.approx(601, abs=5)
    assert max(segment.end for segment in segments) == pytest.approx(701, abs=5)
    for segment in segments:
        assert segment.start == segment.words[0].start
        assert segment.end == segment.words[-1].end
        assert segment.seek == pytest.approx(segment.start * 100, abs=2)
    seconds = [progress["seconds"] for progress in data(events, "progress")]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(711.0, abs=0.01)
    assert len(seconds) >= len(segments)


def test_the_language_found_first_is_kept(tmp_path: Path) -> None:
    class Recorder(AsrWorker):
        def languages_asked_for(self) -> list[str | None]:
            assert self._engine is not None
            asked: list[str | None] = []
            transcribe_piece = self._engine.transcribe

            def listen(audio: Any, options: TranscribeOptions) -> Any:
                asked.append(options.language)
                return transcribe_piece(audio, options)

            self._engine.transcribe = listen  # type: ignore[method-assign]
            return asked

    worker = Recorder(CONFIG)
    worker.load()
    asked = worker.languages_asked_for()
    pcm = recording(tmp_path, ("silence", 620), ("noise", 1300), rate=4000)
    events = list(transcribe(worker, pcm))
    assert asked[:2] == [None, None]
    assert set(asked[2:]) == {"en"}
    assert len(data(events, "info")) == 1


def test_language_is_looked_for_until_somebody_speaks(worker: AsrWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("silence", 601), ("noise", 5), rate=8000)
    (event,) = worker.call("detect_language", {"pcm": pcm}, b"")
    assert (event.name, event.data.language, event.data.probability) == ("language", "en", 0.9)
    (event,) = worker.call("detect_language", {"pcm": recording(tmp_path, ("silence", 2))}, b"")
    assert (event.data.language, event.data.probability) == (None, 0.0)


@pytest.mark.parametrize(("seconds", "shortest", "longest"), [(100, 45, 60), (40, 40, 40)])
def test_a_cut_says_where_the_first_chunk_ends(
    worker: AsrWorker, tmp_path: Path, seconds: float, shortest: float, longest: float
) -> None:
    pcm = recording(tmp_path, ("noise", seconds), rate=8000)
    (event,) = worker.call("cut", {"pcm": pcm}, b"")
    assert event.name == "cut"
    assert shortest <= event.data["seconds"] <= longest


def test_closing_the_events_closes_the_engines_segments(worker: AsrWorker, tmp_path: Path) -> None:
    events = transcribe(worker, recording(tmp_path, ("noise", 30)))
    assert next(events).name == "info"
    assert next(events).name == "segment"
    events.close()  # type: ignore[attr-defined]
    assert len(data(list(transcribe(worker, recording(tmp_path, ("noise", 30)))), "segment")) == 6


def test_what_the_engine_raises_comes_through(worker: AsrWorker, tmp_path: Path) -> None:
    events = transcribe(worker, recording(tmp_path, ("noise", 5)), prompt="fake:out_of_memory")
    assert next(events).name == "info"
    with pytest.raises(InsufficientMemory):
        next(events)


@pytest.mark.parametrize(
    "options",
    [{"beam_size": "5"}, {"beem_size": 5}, {"temperature": 0.0}, {"task": "sing"}, {"vad": {"treshold": 0.5}}],
)
def test_params_are_read_strictly(worker: AsrWorker, tmp_path: Path, options: dict[str, Any]) -> None:
    pcm = recording(tmp_path, ("noise", 1))
    with pytest.raises(ValidationError):
        list(worker.call("transcribe", {"pcm": pcm, "options": options}, b""))


def test_a_method_there_is_not(worker: AsrWorker) -> None:
    with pytest.raises(InternalError):
        list(worker.call("sing", {}, b""))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "nobody"}, "unknown engine 'nobody'"),
        ({"device": "cuda"}, "device 'cuda'"),
        ({"engine_options": {"segment_secs": 5}}, "option 'segment_secs' of engine fake"),
        ({"engine_options": {"delay": -1}}, "option 'delay' of engine fake"),
        ({"engine_options": {"load_fails": True}}, "told not to load"),
    ],
)
def test_a_wrong_configuration_is_explained(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        AsrWorker({**CONFIG, **change}).load()


def test_an_engine_without_logprobs_refuses_them(
    worker: AsrWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcm = recording(tmp_path, ("noise", 1.0))
    assert any(event.data.logprobs for event in transcribe(worker, pcm, logprobs=True) if event.name == "segment")
    monkeypatch.setattr(FakeAsrEngine, "gives_logprobs", False)
    with pytest.raises(UnsupportedParameter) as caught:
        list(transcribe(worker, pcm, logprobs=True))
    assert caught.value.param == "include"


def test_quiet_audio_is_amplified_when_asked_for(worker: AsrWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("noise", 1.0))
    samples = np.fromfile(pcm["path"], dtype="<i2") // 300
    samples.tofile(pcm["path"])
    assert not [event for event in transcribe(worker, pcm) if event.name == "segment"]
    assert [event for event in transcribe(worker, pcm, amplify=True) if event.name == "segment"]
