"""The ASR worker's handler: params in, events out, with the fake engine and real files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile
from pydantic import ValidationError

from asr import piecewise
from asr.engines.fake import FakeAsrEngine, FakeWindowEngine
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, Transcription, VadOptions, Word
from asr.worker import AsrWorker
from core.errors import ConfigurationError, InsufficientMemory, InternalError, NotSupported, UnsupportedParameter
from core.scheduler import Cancelled
from core.worker import CallContext, Event
from utils.audio.pcm import Audio, PcmFile, Samples

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


BOTH = pytest.mark.parametrize("engine", ["fake", "fake-windows"])


@contextmanager
def made(engine: str, **options: Any) -> Iterator[AsrWorker]:
    worker = AsrWorker({**CONFIG, "engine": engine, "engine_options": options})
    worker.load()
    try:
        yield worker
    finally:
        worker.close()


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


def transcribe(
    worker: AsrWorker, pcm: dict[str, Any], *, context: CallContext | None = None, **options: Any
) -> Iterator[Event]:
    # What crosses the pipe is JSON.
    params = orjson.loads(orjson.dumps({"pcm": pcm, "options": asdict(TranscribeOptions(**options))}))
    return worker.call("transcribe", params, context=context)


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


@BOTH
def test_long_audio_has_the_times_of_the_whole(engine: str, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("silence", 61), ("noise", 100), ("silence", 10), rate=8000)
    with made(engine) as worker:
        events = list(transcribe(worker, pcm, word_timestamps=True, vad=None))
    segments = data(events, "segment")
    assert events[0].name == "info"
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert min(segment.start for segment in segments) == pytest.approx(61, abs=5)
    assert max(segment.end for segment in segments) == pytest.approx(161, abs=5)
    for segment in segments:
        assert segment.start == segment.words[0].start
        assert segment.end == segment.words[-1].end
        assert segment.seek == pytest.approx(segment.start * 100, abs=2)


@BOTH
def test_progress_comes_with_every_window_and_never_goes_back(engine: str, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("noise", 200), ("silence", 30))
    with made(engine) as worker:
        events = list(transcribe(worker, pcm, vad=None))
    seconds = [progress["seconds"] for progress in data(events, "progress")]
    assert len(seconds) >= 4
    assert seconds == sorted(set(seconds))
    assert seconds[-1] == pytest.approx(230.0)
    assert events[-1].name == "progress"
    heard = 0.0
    for event in events[1:]:
        if event.name == "progress":
            assert event.data["seconds"] >= heard
        else:
            heard = event.data.end


@BOTH
def test_the_language_found_first_is_kept(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    guess = FakeAsrEngine._guess

    def listen(self: FakeAsrEngine, audio: Audio, candidates: tuple[str, ...]) -> LanguageGuess:
        asked.append("heard")
        return guess(self, audio, candidates)

    monkeypatch.setattr(FakeAsrEngine, "_guess", listen)
    pcm = recording(tmp_path, ("silence", 70), ("noise", 150), rate=8000)
    with made(engine) as worker:
        events = list(transcribe(worker, pcm, vad=None))
    assert 2 <= len(asked) <= 3, "those of silence, and the first with sound"
    assert len(data(events, "info")) == 1
    assert data(events, "info")[0]["language"] == "en"


def test_an_early_first_text_comes_in_a_window_of_its_own(tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("noise", 60))
    with made("fake-windows") as worker:
        first = [data(list(transcribe(worker, pcm, vad=None, early=early)), "progress")[0] for early in (True, False)]
    assert 6 <= first[0]["seconds"] <= 12
    assert 20 <= first[1]["seconds"] <= 30


@pytest.mark.parametrize(("seconds", "timestamps"), [(20.0, False), (40.0, True)])
def test_audio_of_several_windows_is_heard_with_timestamps_whatever_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, timestamps: bool
) -> None:
    prepare, told = FakeWindowEngine.prepare, set()

    def spy(self: FakeWindowEngine, audio: Audio, options: TranscribeOptions, **more: Any) -> Any:
        told.add(options.timestamps)
        return prepare(self, audio, options, **more)

    monkeypatch.setattr(FakeWindowEngine, "prepare", spy)
    with made("fake-windows") as worker:
        assert list(transcribe(worker, recording(tmp_path, ("noise", seconds)), vad=None, timestamps=False))
    assert told == {timestamps}


def test_the_windows_that_are_ready_are_shared_by_those_who_transcribe(tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("noise", 1))
    with made("fake-windows", slots=1, batch_size=4) as worker:
        calls = [transcribe(worker, pcm, vad=None) for _ in range(5)]
        found = []
        for call in calls:
            next(call)
            found.append(worker._ahead())
        assert found == [8, 4, 2, 2, 2]
        for call in calls:
            list(call)
        assert worker._ahead() == 8


def test_silence_is_left_out_of_windows(speech_data: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(speech_data / "en" / "jfk.wav", dtype="int16")
    silence = np.zeros(20 * rate, "<i2")
    path = tmp_path / "audio.s16"
    joined = np.concatenate([silence, samples, silence, samples, silence])
    path.write_bytes(joined.tobytes())
    pcm = {"path": str(path), "frames": len(joined), "sample_rate": rate, "channels": 1, "offset": 0}
    with made("fake-windows") as worker:
        events = list(transcribe(worker, pcm))
    assert [progress["seconds"] for progress in data(events, "progress")] == pytest.approx([62, 82], abs=1)
    segments = data(events, "segment")
    assert min(segment.start for segment in segments) == pytest.approx(20, abs=1)
    assert max(segment.end for segment in segments) == pytest.approx(62, abs=1)
    assert not [segment for segment in segments if 32 < segment.start < 50]


def test_language_is_looked_for_until_somebody_speaks(worker: AsrWorker, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("silence", 601), ("noise", 5), rate=8000)
    (event,) = worker.call("detect_language", {"pcm": pcm})
    assert (event.name, event.data.language, event.data.probability) == ("language", "en", 0.9)
    (event,) = worker.call("detect_language", {"pcm": recording(tmp_path, ("silence", 2))})
    assert (event.data.language, event.data.probability) == (None, 0.0)


def test_the_language_of_windows_is_that_of_their_speech(
    speech_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[float] = []
    detect = FakeAsrEngine.detect_language

    def listen(self: FakeAsrEngine, audio: Audio) -> LanguageGuess:
        heard.append(audio.duration)
        return detect(self, audio)

    monkeypatch.setattr(FakeAsrEngine, "detect_language", listen)
    samples, rate = soundfile.read(speech_data / "en" / "jfk.wav", dtype="int16")
    path = tmp_path / "audio.s16"
    path.write_bytes(np.concatenate([np.zeros(20 * rate, "<i2"), samples]).tobytes())
    pcm = {"path": str(path), "frames": 20 * rate + len(samples), "sample_rate": rate, "channels": 1, "offset": 0}
    with made("fake-windows") as worker:
        (event,) = worker.call("detect_language", {"pcm": pcm})
        assert event.data.language == "en"
        assert heard == [pytest.approx(11, abs=0.6)]
        (event,) = worker.call("detect_language", {"pcm": recording(tmp_path, ("noise", 5))})
        assert (event.data.language, len(heard)) == (None, 1)


@pytest.mark.parametrize(("seconds", "shortest", "longest"), [(100, 45, 60), (40, 40, 40)])
def test_a_cut_says_where_the_first_chunk_ends(
    worker: AsrWorker, tmp_path: Path, seconds: float, shortest: float, longest: float
) -> None:
    pcm = recording(tmp_path, ("noise", seconds), rate=8000)
    (event,) = worker.call("cut", {"pcm": pcm})
    assert event.name == "cut"
    assert shortest <= event.data["seconds"] <= longest


def test_so_many_windows_are_measured(worker: AsrWorker) -> None:
    with made("fake-windows", delay=0.001, slots=2) as both:
        (event,) = both.call("measure", {"windows": 3})
    assert event.name == "measured"
    assert 0 < event.data["seconds"] < 60
    for wrong in ({"windows": 0}, {}, {"windows": 1, "seconds": 2}):
        with pytest.raises(ValidationError):
            list(worker.call("measure", wrong))


def test_what_cannot_be_measured_says_so(worker: AsrWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FakeAsrEngine, "measure")
    with pytest.raises(NotSupported):
        list(worker.call("measure", {"windows": 1}))


@BOTH
def test_a_call_that_is_cancelled_waits_for_nothing(engine: str, tmp_path: Path) -> None:
    context = CallContext()
    with made(engine) as worker:
        events = transcribe(worker, recording(tmp_path, ("noise", 130)), context=context, vad=None)
        assert [next(events).name, next(events).name] == ["info", "segment"]
        context.cancel()
        with pytest.raises(Cancelled):
            list(events)
        assert worker._scheduler is not None
        assert worker._scheduler.waiting == 0
        assert engine == "fake-windows" or not worker._scheduler.running, "a turn is over with its call"
        assert list(transcribe(worker, recording(tmp_path, ("noise", 5)), vad=None))


def test_silence_is_not_listened_to_for_nobody(tmp_path: Path) -> None:
    context = CallContext()
    context.cancel()
    with made("fake-windows") as worker, pytest.raises(Cancelled):
        list(transcribe(worker, recording(tmp_path, ("silence", 5)), context=context))


@pytest.mark.parametrize("amplify", [True, False])
@BOTH
def test_audio_that_is_taken_away_ends_a_call_that_was_cancelled(engine: str, amplify: bool, tmp_path: Path) -> None:
    gone = {**recording(tmp_path, ("noise", 5)), "path": str(tmp_path / "gone.s16")}
    context = CallContext()
    with made(engine) as worker:
        with pytest.raises(InternalError, match="taken away"):
            list(transcribe(worker, gone, context=context, amplify=amplify))
        context.cancel()
        with pytest.raises(Cancelled):
            list(transcribe(worker, gone, context=context, amplify=amplify))


def test_nobody_waits_for_the_level_of_a_file_that_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = CallContext()
    read = PcmFile.read
    seen: list[int] = []

    def cancelled_while_read(self: PcmFile, start: int = 0, stop: int | None = None) -> Samples:
        seen.append(start)
        context.cancel()
        return read(self, start, stop)

    monkeypatch.setattr(PcmFile, "read", cancelled_while_read)
    with made("fake-windows") as worker, pytest.raises(Cancelled):
        list(transcribe(worker, recording(tmp_path, ("silence", 100)), context=context, amplify=True))
    assert seen == [0]


@pytest.mark.parametrize("method", ["transcribe", "detect_language", "cut"])
@BOTH
def test_a_call_that_reads_and_listens_is_known_to_be_at_work(
    engine: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work: list[bool] = [False]
    seen: list[bool] = []
    read = PcmFile.read

    def watched(self: PcmFile, start: int = 0, stop: int | None = None) -> Samples:
        seen.append(at_work[-1])
        return read(self, start, stop)

    monkeypatch.setattr(PcmFile, "read", watched)
    pcm = recording(tmp_path, ("noise", 100))
    with made(engine) as worker:
        params = {"pcm": pcm} if method != "transcribe" else {"pcm": pcm, "options": {"amplify": True}}
        assert list(worker.call(method, params, context=CallContext(at_work.append)))
    assert seen
    assert all(seen)
    assert at_work[-1] is False


def test_leaving_at_the_information_gives_the_turn_back(
    worker: AsrWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, kept = piecewise.decode, []

    def keeping(*args: Any, **options: Any) -> Any:
        kept.append(decode(*args, **options))  # so that nothing is over because it was collected
        return kept[-1]

    monkeypatch.setattr(piecewise, "decode", keeping)
    events = transcribe(worker, recording(tmp_path, ("noise", 30)))
    assert next(events).name == "info"
    assert worker._scheduler is not None
    assert worker._scheduler.running == 1
    events.close()  # type: ignore[attr-defined]
    assert worker._scheduler.running == 0
    assert len(kept) == 1


def test_times_of_an_engine_are_put_into_the_audio_and_in_order(
    worker: AsrWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = Word(" late", 3.0, 9.0, 1.0)
    wild = [
        Segment(start=-5.0, end=1.0, text=" early"),
        Segment(start=1.5, end=9999.0, text=" late", words=(word,)),
        Segment(start=0.5, end=0.7, text=" back"),
    ]
    monkeypatch.setattr(FakeAsrEngine, "transcribe", lambda *_: Transcription("en", 2.0, iter(wild), 1.0))
    found = [event.data for event in transcribe(worker, recording(tmp_path, ("noise", 2.0))) if event.name == "segment"]
    assert [(each.start, each.end) for each in found] == [(0.0, 1.0), (1.5, 2.0), (2.0, 2.0)]
    assert [(each.start, each.end) for each in found[1].words] == [(2.0, 2.0)]


@pytest.mark.parametrize("wrong", [{"start": math.nan}, {"end": math.inf}, {"text": b"x"}])
def test_a_segment_that_is_none_is_the_fault_of_the_engine(
    worker: AsrWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    segment = Segment(**({"start": 0.0, "end": 1.0, "text": "x"} | wrong))
    monkeypatch.setattr(FakeAsrEngine, "transcribe", lambda *_: Transcription("en", 2.0, iter([segment]), 1.0))
    with pytest.raises(InternalError, match="the engine gave a segment"):
        list(transcribe(worker, recording(tmp_path, ("noise", 2.0))))


def test_the_prompt_is_shown_to_the_first_piece_only(
    worker: AsrWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str | None] = []
    made_of = FakeAsrEngine.transcribe

    def watched(self: FakeAsrEngine, audio: Audio, options: TranscribeOptions) -> Transcription:
        shown.append(options.prompt)
        return made_of(self, audio, options)

    monkeypatch.setattr(FakeAsrEngine, "transcribe", watched)
    list(transcribe(worker, recording(tmp_path, ("noise", 130)), prompt="Ada"))
    assert shown[0] == "Ada"
    assert set(shown[1:]) == {None}


def test_a_piece_of_music_does_not_decide_the_language(
    worker: AsrWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def listen(self: FakeAsrEngine, audio: Audio, options: TranscribeOptions) -> Transcription:
        asked.append(options.language)
        said = [] if len(asked) == 1 else [Segment(start=0.0, end=1.0, text=" a")]
        language = options.language or ("nn" if len(asked) == 1 else "fr")
        return Transcription(language, audio.duration, iter(said), 0.7)

    monkeypatch.setattr(FakeAsrEngine, "transcribe", listen)
    events = list(transcribe(worker, recording(tmp_path, ("noise", 150))))
    assert data(events, "info")[0]["language"] == "fr"
    assert asked[:2] == [None, None]
    assert set(asked[2:]) == {"fr"}


def test_closing_the_events_closes_the_engines_segments(worker: AsrWorker, tmp_path: Path) -> None:
    events = transcribe(worker, recording(tmp_path, ("noise", 30)))
    assert next(events).name == "info"
    assert next(events).name == "segment"
    events.close()  # type: ignore[attr-defined]
    assert len(data(list(transcribe(worker, recording(tmp_path, ("noise", 30)))), "segment")) == 6


def test_what_the_engine_raises_comes_through(worker: AsrWorker, tmp_path: Path) -> None:
    events = transcribe(worker, recording(tmp_path, ("noise", 5)), prompt="fake:out_of_memory")
    with pytest.raises(InsufficientMemory):
        next(events)


@pytest.mark.parametrize(
    "options",
    [{"beam_size": "5"}, {"beem_size": 5}, {"temperature": 0.0}, {"task": "sing"}, {"vad": {"treshold": 0.5}}],
)
def test_params_are_read_strictly(worker: AsrWorker, tmp_path: Path, options: dict[str, Any]) -> None:
    pcm = recording(tmp_path, ("noise", 1))
    with pytest.raises(ValidationError):
        list(worker.call("transcribe", {"pcm": pcm, "options": options}))


def test_a_method_there_is_not(worker: AsrWorker) -> None:
    with pytest.raises(InternalError):
        list(worker.call("sing", {}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "nobody"}, "unknown engine 'nobody'"),
        ({"device": "cuda"}, "device 'cuda'"),
        ({"engine_options": {"segment_secs": 5}}, "unknown option .segment_secs. of the engine fake: it has seg"),
        ({"engine_options": {"delay": -1}}, "option 'delay' of the engine fake"),
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


@BOTH
def test_quiet_audio_is_amplified_when_asked_for(engine: str, tmp_path: Path) -> None:
    pcm = recording(tmp_path, ("noise", 1.0))
    samples = np.fromfile(pcm["path"], dtype="<i2") // 300
    samples.tofile(pcm["path"])
    with made(engine) as worker:
        assert not [event for event in transcribe(worker, pcm, vad=None) if event.name == "segment"]
        assert [event for event in transcribe(worker, pcm, vad=None, amplify=True) if event.name == "segment"]
