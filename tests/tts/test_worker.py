"""The TTS worker's handler, called the way the worker process calls it, with the fake engine."""

from __future__ import annotations

import time
import wave
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import pipe
from core.errors import (
    ConfigurationError,
    InternalError,
    InvalidAudio,
    InvalidRequest,
    NotSupported,
    TextTooLong,
    VoiceNotFound,
)
from core.pipe import Frame
from core.worker import Event
from tts.engines.fake import FakeTtsEngine
from tts.voice import SpeechOptions, Voice
from tts.worker import TtsWorker
from utils.audio.pcm import Audio

ANNA = Voice(id="fake_anna", name="fake_anna", language="en-US")
CARLA = Voice(id="fake_carla", name="fake_carla", language="es")
LONG = "The first sentence is short. " * 30


def worker(**config: Any) -> TtsWorker:
    made = TtsWorker({"engine": "fake", **config})
    made.load()
    return made


@pytest.fixture
def fake() -> Iterator[TtsWorker]:
    made = worker()
    yield made
    made.close()


def events(
    handler: TtsWorker, text: str, voice: Voice = ANNA, *, speed: float = 1.0, rate: int | None = None, **options: Any
) -> list[Event]:
    return list(call(handler, text, voice, speed=speed, rate=rate, **options))


def call(
    handler: TtsWorker, text: str, voice: Voice = ANNA, *, speed: float = 1.0, rate: int | None = None, **options: Any
) -> Iterator[Event]:
    # Over the pipe everything arrives as plain JSON.
    data = {
        "text": text,
        "voice": asdict(voice) | {"sample": str(voice.sample) if voice.sample else None},
        "options": asdict(SpeechOptions(**options, speed=speed)),
        "sample_rate": rate,
    }
    return handler.call("synthesize", data)


def samples(found: list[Event]) -> np.ndarray:
    return np.frombuffer(b"".join(event.body for event in found), "<i2")


def test_load_tells_what_the_engine_can_do() -> None:
    facts = TtsWorker({"engine": "fake", "model_id": "fake-1"}).load()
    pipe.encode(Frame("ready", data=facts))
    assert facts["engine"] == "fake"
    assert facts["model"] == "fake-1"
    assert facts["device"] == "cpu"
    assert facts["sample_rate"] == 24_000
    assert facts["speed_range"] == [0.5, 2.0]
    assert facts["can_clone"] is True
    assert facts["languages"] == ["en", "es"]
    assert facts["voices"][0].id == "fake_anna"
    assert {voice.model for voice in facts["voices"]} == {"fake-1"}


@pytest.mark.parametrize(
    "config",
    [
        {"engine": "nothing"},
        {"engine": "fake", "device": "cuda"},
        {"engine": "fake", "device": "toaster"},
        {"engine": "fake", "engine_options": {"load_fails": True}},
    ],
)
def test_what_cannot_work_does_not_load(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        TtsWorker(config).load()


def test_unknown_engine_options_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="beams"):
        TtsWorker({"engine": "fake", "engine_options": {"beams": 3}}).load()


def test_an_answer_is_a_start_and_audio_in_order(fake: TtsWorker) -> None:
    found = events(fake, LONG)
    start, *audio = found
    assert start.name == "start"
    told = {"sample_rate": 24_000, "tempo": 1.0, "language": "en-US", "short": False, "times_words": True}
    assert start.data == told
    assert {event.name for event in audio} == {"audio"}
    numbers = [event.data["piece"] for event in audio]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(numbers[-1] + 1))
    texts = {event.data["piece"]: event.data["text"] for event in audio}
    assert " ".join(texts.values()) == LONG.strip()
    assert max(map(len, texts.values())) <= 180
    assert np.abs(samples(audio)).max() > 1000


def test_the_start_comes_before_anything_is_synthesized() -> None:
    slow = worker(engine_options={"delay": 30})
    before = time.monotonic()
    stream = call(slow, "Hello.")
    assert next(stream).name == "start"
    assert time.monotonic() - before < 15


def test_text_is_normalised_and_cut_to_max_chars() -> None:
    handler = worker(max_chars=20)
    found = events(handler, "**Hello** world 😀, this is `code` and more of it.")
    text = " ".join(dict.fromkeys(event.data["text"] for event in found[1:]))
    assert text == "Hello world, this is code and more of it."
    assert max(len(event.data["text"]) for event in found[1:]) <= 20


@pytest.mark.parametrize("text", ["", " \n", "***", "…", "😀", "\u200d", "?!"])
def test_nothing_to_say_is_an_invalid_request_before_the_start(fake: TtsWorker, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call(fake, text)
    assert caught.value.param == "input"


@pytest.mark.parametrize(("speed", "tempo"), [(0.25, 0.5), (0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 2.0)])
def test_the_engine_speaks_as_fast_as_it_can_and_the_rest_is_tempo(fake: TtsWorker, speed: float, tempo: float) -> None:
    start, *audio = events(fake, LONG, speed=speed)
    assert start.data["tempo"] == tempo
    normal = len(samples(events(fake, LONG)[1:]))
    assert len(samples(audio)) * speed / tempo == pytest.approx(normal, rel=0.01)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_another_sample_rate_changes_nothing_but_the_rate(fake: TtsWorker, rate: int) -> None:
    start, *audio = events(fake, LONG, rate=rate)
    assert start.data["sample_rate"] == rate
    original = samples(events(fake, LONG)[1:])
    assert len(samples(audio)) / rate == pytest.approx(len(original) / 24_000, abs=0.002)
    assert np.abs(samples(audio)).max() == pytest.approx(np.abs(original).max(), rel=0.1)


def test_pieces_are_resampled_as_one_stream() -> None:
    many, one = worker(max_chars=30), worker(max_chars=250)
    text = "One two three four five six. Seven eight nine ten eleven. Twelve thirteen fourteen."
    cut, whole = samples(events(many, text, rate=22_050)), samples(events(one, text, rate=22_050))
    assert np.abs(cut.astype(int) - whole.astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("text", "voice", "options", "spoken"),
    [
        ("Hello.", ANNA, {}, "en-US"),
        ("Hola.", CARLA, {}, "es"),
        ("Hello.", CARLA, {"language": "en"}, "en"),
        ("Buenos días, ¿dónde está la biblioteca más cercana?", ANNA, {}, "es"),
    ],
)
def test_the_language(fake: TtsWorker, text: str, voice: Voice, options: dict[str, Any], spoken: str) -> None:
    assert events(fake, text, voice, **options)[0].data["language"] == spoken


def test_detection_can_be_turned_off() -> None:
    handler = worker(auto_lang=False)
    assert events(handler, "Buenos días, ¿dónde está la biblioteca?")[0].data["language"] == "en-US"


@pytest.mark.parametrize(
    ("text", "options", "param"), [("Hello.", {"language": "ja"}, "language"), ("สวัสดีครับ", {}, "input")]
)
def test_a_language_the_model_lacks_is_refused(fake: TtsWorker, text: str, options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest, match="does not speak") as caught:
        call(fake, text, **options)
    assert caught.value.param == param


def paused(handler: TtsWorker, text: str, pause: float, **more: Any) -> list[Event]:
    return list(handler.call("synthesize", {"text": text, "voice": asdict(ANNA), "pause": pause, **more}))


def test_words_do_not_overlap_however_short_the_pause_is(fake: TtsWorker) -> None:
    found = paused(fake, "One two. Three four. Five six. Seven.", 0.0, timestamps=True)
    words = [word for event in found for word in event.data.get("words", ())]
    assert [word.word for word in words] == ["One", "two", "Three", "four", "Five", "six", "Seven"]
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= len(samples(found)) / 24_000


def test_pauses_that_last_for_hours_are_refused_before_the_start(fake: TtsWorker) -> None:
    with pytest.raises(InvalidRequest, match="at most 3603") as caught:
        fake.call("synthesize", {"text": "Hi. " * 1000, "voice": asdict(ANNA), "pause": 10.0})
    assert caught.value.param == "pause_between_sentences_ms"
    assert fake.call("synthesize", {"text": "Hi. " * 1000, "voice": asdict(ANNA), "pause": 3.6})


def test_an_endless_answer_is_ended(fake: TtsWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tts.synthesis.MAX_SECONDS", 2)
    stream = call(fake, LONG)
    assert next(stream).name == "start"
    with pytest.raises(TextTooLong):
        list(stream)


def test_options_reach_the_engine(fake: TtsWorker) -> None:
    plain = samples(events(fake, "Hello."))
    for options in ({"seed": 7}, {"temperature": 0.4}, {"instructions": "whisper"}):
        assert not np.array_equal(plain, samples(events(fake, "Hello.", **options)))
    assert np.array_equal(plain, samples(events(fake, "Hello.")))


def test_the_engine_is_shown_the_whole_text_before_the_answer_begins(
    fake: TtsWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, Voice, SpeechOptions]] = []

    def refuse(_: object, text: str, voice: Voice, options: SpeechOptions) -> None:
        shown.append((text, voice, options))
        raise InvalidRequest("this engine cannot say kanji", param="input")

    monkeypatch.setattr(type(fake._engine), "check", refuse)
    with pytest.raises(InvalidRequest, match="kanji"):
        call(fake, f"{LONG}  **The end.**", ANNA, speed=4.0, seed=3)
    [(text, voice, options)] = shown
    assert text == f"{LONG}The end."
    assert voice.id == ANNA.id
    assert (options.speed, options.language, options.seed) == (2.0, "en-US", 3)


def test_normal_forms_sound_the_same(fake: TtsWorker) -> None:
    assert np.array_equal(samples(events(fake, "caf\u00e9")), samples(events(fake, "cafe\u0301")))


def test_an_unknown_voice_or_method(fake: TtsWorker) -> None:
    with pytest.raises(VoiceNotFound):
        events(fake, "Hello.", Voice(id="nobody", name="nobody"))
    with pytest.raises(NotSupported):
        fake.call("transcribe", {})


def test_closing_the_events_closes_the_engine(fake: TtsWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    real = type(fake._engine).synthesize

    def watched(*args: Any) -> Generator[Any, None, None]:
        try:
            yield from real(*args)
        finally:
            closed.append(True)

    monkeypatch.setattr(type(fake._engine), "synthesize", watched)
    stream = call(fake, LONG)
    assert [next(stream).name, next(stream).name] == ["start", "audio"]
    assert not closed
    stream.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert events(fake, "Hello.")


@pytest.mark.parametrize(("marker", "error"), [("error", RuntimeError), ("out_of_memory", MemoryError)])
def test_the_engine_may_fail_in_the_middle(fake: TtsWorker, marker: str, error: type[Exception]) -> None:
    stream = call(fake, f"Hello there. fake:{marker}")
    assert [next(stream).name for _ in range(3)] == ["start", "audio", "audio"]
    with pytest.raises(error):
        next(stream)
    assert events(fake, "Hello.")


def recording(path: Path, *, frequency: float = 300.0, rate: int = 16_000) -> Path:
    tone = np.sin(2 * np.pi * frequency * np.arange(rate * 2) / rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((tone * 10_000).astype("<i2").tobytes())
    return path


def cloned(path: Path) -> Voice:
    return Voice(id=path.stem, name=path.stem, language="en", type="cloned", sample=path)


def test_a_recording_is_a_voice_of_its_content(fake: TtsWorker, tmp_path: Path) -> None:
    first = cloned(recording(tmp_path / "first.wav"))
    twin = cloned(recording(tmp_path / "twin.wav"))
    other = cloned(recording(tmp_path / "other.wav", frequency=500))
    voices = [samples(events(fake, "Hello.", voice)) for voice in (first, twin, other, ANNA)]
    assert np.array_equal(voices[0], voices[1])
    assert not np.array_equal(voices[0], voices[2])
    assert not np.array_equal(voices[0], voices[3])


def test_a_recording_is_cloned_once_per_content(
    fake: TtsWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = []
    real = type(fake._engine).clone
    monkeypatch.setattr(type(fake._engine), "clone", lambda *args: (count.append(1), real(*args))[1])
    path = tmp_path / "anna.wav"
    recording(path)
    before = samples(events(fake, "Hello.", cloned(path)))
    events(fake, "Hello.", cloned(path))
    recording(path)
    events(fake, "Hello.", cloned(path))
    assert len(count) == 1
    recording(path, frequency=600)
    assert not np.array_equal(before, samples(events(fake, "Hello.", cloned(path))))
    assert len(count) == 2


def test_recordings_that_cannot_be_used(fake: TtsWorker, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_bytes(b"ffconcat version 1.0\nfile 'anna.wav'\n")
    with pytest.raises(InvalidAudio):
        events(fake, "Hello.", cloned(text))
    link = tmp_path / "link.wav"
    link.symlink_to(recording(tmp_path / "real.wav"))
    for voice in (cloned(link), cloned(tmp_path / "gone.wav"), cloned(tmp_path)):
        with pytest.raises(VoiceNotFound):
            events(fake, "Hello.", voice)


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (Audio(np.zeros(10, dtype=np.int16), 24_000), "int16 of shape"),
        (Audio(np.zeros((2, 10), dtype=np.float32), 24_000), r"shape \(2, 10\)"),
        (Audio(np.zeros(10, dtype=np.float32), 48_000), "at 48000 Hz"),
        (Audio(np.full(10, np.nan, dtype=np.float32), 24_000), "not numbers"),
    ],
)
def test_samples_that_an_engine_must_not_make(
    fake: TtsWorker, monkeypatch: pytest.MonkeyPatch, made: Audio, complaint: str
) -> None:
    monkeypatch.setattr(type(fake._engine), "synthesize", lambda *_: iter([made]))
    with pytest.raises(InternalError, match=complaint):
        events(fake, "Hello.")


def test_close_twice(fake: TtsWorker) -> None:
    fake.close()
    fake.close()
    with pytest.raises(Exception, match="not loaded"):
        call(fake, "Hello.")


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pieces that the fake engine was given."""
    found: list[str] = []
    real = FakeTtsEngine.synthesize

    def synthesize(self: FakeTtsEngine, text: str, *args: Any) -> Iterator[Any]:
        found.append(text)
        return real(self, text, *args)

    monkeypatch.setattr(FakeTtsEngine, "synthesize", synthesize)
    return found


def test_a_short_text_that_is_said_again_costs_nothing(fake: TtsWorker, spoken: list[str]) -> None:
    first, again = (events(fake, "Hello there.") for _ in range(2))
    assert first == again
    assert spoken == ["Hello there."]


@pytest.mark.parametrize(
    "other", [{"voice": CARLA}, {"speed": 2.0}, {"rate": 8_000}, {"seed": 1}, {"temperature": 0.3}, {"language": "es"}]
)
def test_another_way_of_saying_it_is_another_thing(fake: TtsWorker, spoken: list[str], other: dict[str, Any]) -> None:
    events(fake, "Hello there.")
    events(fake, "Hello there.", **other)
    events(fake, "Hello  there.")
    assert len(spoken) == 3


@pytest.mark.parametrize(("field", "value"), [("volume", 0.5), ("pause", 0.1), ("normalize", False)])
def test_another_delivery_is_another_thing(fake: TtsWorker, spoken: list[str], field: str, value: float) -> None:
    for params in ({}, {field: value}, {field: value}):
        list(fake.call("synthesize", {"text": "Hello there.", "voice": asdict(ANNA), **params}))
    assert len(spoken) == 2


def test_long_texts_and_what_was_not_said_to_the_end_are_not_remembered(fake: TtsWorker, spoken: list[str]) -> None:
    stream = call(fake, "Hello there.")
    assert [next(stream).name, next(stream).name] == ["start", "audio"]
    stream.close()  # type: ignore[attr-defined]
    events(fake, "Hello there.")
    assert spoken == ["Hello there."] * 2
    spoken.clear()
    for _ in range(2):
        events(fake, LONG, speed=2.0)
    assert " ".join(spoken) == f"{LONG}{LONG}".strip()


def test_nothing_is_remembered_where_that_is_switched_off(spoken: list[str]) -> None:
    handler = worker(utterance_cache_mb=0)
    for _ in range(2):
        events(handler, "Hello there.")
    assert len(spoken) == 2


def test_a_cloned_voice_is_remembered_by_its_recording_until_it_is_forgotten(
    fake: TtsWorker, spoken: list[str], tmp_path: Path
) -> None:
    path = recording(tmp_path / "anna.wav")
    for _ in range(2):
        events(fake, "Hello.", cloned(path))
    assert len(spoken) == 1
    recording(path, frequency=600)
    for _ in range(2):
        events(fake, "Hello.", cloned(path))
    assert len(spoken) == 2
    list(fake.call("forget", {"voice": asdict(cloned(path)) | {"sample": str(path)}}))
    events(fake, "Hello.", cloned(path))
    assert len(spoken) == 3
    path.unlink()
    with pytest.raises(VoiceNotFound):
        events(fake, "Hello.", cloned(path))


def test_a_voice_for_one_request_is_not_remembered(fake: TtsWorker, spoken: list[str], tmp_path: Path) -> None:
    voice = replace(cloned(recording(tmp_path / "anna.wav")), one_shot=True)
    for _ in range(2):
        events(fake, "Hello.", voice)
    assert len(spoken) == 2


def quick(**config: Any) -> TtsWorker:
    """A worker whose engine makes a piece as a whole, and so speaks long texts in pieces that grow."""
    return worker(engine_options={"first_chars": 32, **config.pop("engine_options", {})}, **config)


def test_an_engine_that_makes_whole_pieces_begins_with_a_short_one(spoken: list[str]) -> None:
    handler = quick()
    text = "When the sun went down, the children walked home along the river and talked about the summer. " * 3
    spoken.clear()
    start, *audio = handler.call("synthesize", {"text": text, "voice": asdict(ANNA), "timestamps": True})
    assert start.data["short"] is False
    assert spoken[0] == "When the sun went down,"
    assert " ".join(spoken) == text.strip()
    assert list(dict.fromkeys(event.data["text"] for event in audio)) == spoken
    words = [word for event in audio for word in event.data["words"]]
    assert " ".join(word.word for word in words) == text.replace(",", "").replace(".", "").strip()
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= len(samples(audio)) / 24_000
    sound = samples(audio) / 32768
    # What is told of the last word is where it is heard: a tone between two silences.
    last = sound[round(words[-1].start * 24_000) : round(words[-1].end * 24_000)]
    assert np.abs(last).max() > 0.2


def test_a_cut_at_a_comma_is_a_short_pause_and_one_between_words_is_none() -> None:
    handler = quick(engine_options={"first_chars": 16})
    gap = 0.05

    def seconds(text: str) -> float:
        return len(samples(events(handler, text))) / 24_000

    comma = "One two three, four five six seven eight nine ten eleven twelve thirteen."
    word = "One two three  four five six seven eight nine ten eleven twelve thirteen."
    letters = sum(map(len, comma.split())) * 0.06
    count = len(comma.split())
    assert seconds(comma) == pytest.approx(letters + (count - 1) * gap + 0.12, abs=0.02)
    pieces = {event.data["piece"] for event in events(handler, word)[1:]}
    assert seconds(word) == pytest.approx(letters - 0.06 + (count - len(pieces) + 1) * gap, abs=0.02)


def test_the_pause_between_sentences_is_kept_whatever_the_pieces_are() -> None:
    handler = quick()
    text = "One two three four five, six seven eight nine ten eleven. Twelve thirteen. Fourteen!"
    none, long = (len(samples(paused(handler, text, pause))) for pause in (0.0, 1.0))
    assert long - none == 2 * 24_000


@pytest.mark.parametrize("speed", [4.0, 0.25])
def test_pauses_are_heard_as_long_as_they_are_asked_for_whatever_the_tempo(speed: float) -> None:
    handler = worker()
    text = "One two. Three four. Five six."
    none, long = (paused(handler, text, pause, options={"speed": speed}) for pause in (0.0, 1.0))
    heard = (len(samples(long)) - len(samples(none))) / 24_000 / long[0].data["tempo"]
    assert heard == pytest.approx(2.0, abs=0.01)


def test_a_cut_at_a_comma_is_heard_as_long_at_any_tempo() -> None:
    handler = quick(engine_options={"first_chars": 16})
    text = "One two three, four five six seven eight nine ten eleven twelve thirteen."
    sounds = [samples(events(handler, text, speed=speed))[: 24_000 * 9] for speed in (2.0, 4.0)]
    assert (len(sounds[1]) - len(sounds[0])) / 24_000 == pytest.approx(0.12, abs=0.01)


def test_only_one_short_sentence_is_waited_for_as_a_whole() -> None:
    handler = quick()
    sentence = "We went on along the river until the sun was down and nobody knew any more"
    texts = [sentence + ".", " ".join([sentence] * 5) + ".", f"{sentence}. {sentence}."]
    assert [next(call(handler, text)).data["short"] for text in texts] == [True, False, False]


def test_an_answer_that_takes_too_much_room_is_not_collected(
    spoken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = worker(utterance_cache_mb=0.25)
    kept: list[int] = []
    real = handler._utterances.keep
    monkeypatch.setattr(
        handler._utterances, "keep", lambda key, found, **more: (kept.append(len(found)), real(key, found, **more))
    )
    for _ in range(2):
        events(handler, "Hello there, this is long.")
    for _ in range(2):
        events(handler, "Hello.")
    assert len(spoken) == 3
    assert len(kept) == 1
