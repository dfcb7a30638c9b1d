"""What every ASR engine must do, asserted the same way over each of them: a new engine adds one line to CASES."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr import engine_factory
from asr.engine import AsrEngine, WindowEngine
from asr.transcript import Segment, TranscribeOptions, Transcription
from core.engines import EngineContext
from core.errors import InvalidAudio, NotSupported, UnsupportedParameter, UnsupportedTask, VoiceStackError
from utils.audio.pcm import Audio

RATE = 16_000
WORKERS = 2


@dataclass(frozen=True)
class Case:
    name: str
    model: str | None = None
    hears: bool = False
    """Whether it takes real speech for the engine to hear any."""
    unsupported: tuple[tuple[dict[str, Any], type[VoiceStackError]], ...] = ()
    """Options that this engine or model must refuse, and how."""


ENGLISH_ONLY = (
    ({"language": "de"}, UnsupportedParameter),
    ({"languages": ("de", "en")}, UnsupportedParameter),
    ({"task": "translate"}, UnsupportedTask),
)
WHISPER_BASE = (({"language": "xx"}, UnsupportedParameter), ({"languages": ("en", "xx")}, UnsupportedParameter))
CASES = [
    pytest.param(Case("fake"), id="fake"),
    pytest.param(Case("fake-windows", hears=True), id="fake-windows"),
    pytest.param(Case("faster-whisper", "whisper-tiny.en", True, ENGLISH_ONLY), id="tiny.en", marks=pytest.mark.e2e),
    pytest.param(Case("faster-whisper", "whisper-base", True, WHISPER_BASE), id="base", marks=pytest.mark.e2e),
]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def make(case: Case, model_dir: Callable[[str], Path]) -> Callable[[], AsrEngine]:
    """A function that makes an engine of the case, not loaded."""
    folder = model_dir(case.model) if case.model else None
    context = EngineContext(model=folder, model_id=case.model or "", threads=1, workers=WORKERS)
    return lambda: engine_factory.registry().get(case.name)(context)


@pytest.fixture(scope="module")
def engine(make: Callable[[], AsrEngine]) -> Iterator[AsrEngine]:
    loaded = make()
    loaded.load()
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def speech(case: Case, request: pytest.FixtureRequest) -> Audio:
    """11 seconds with something to say: a real recording where silence is left out, noise elsewhere."""
    if not case.hears:
        return Audio(np.random.default_rng(1).normal(0, 0.1, 11 * RATE).clip(-1, 1).astype(np.float32), RATE)
    samples, rate = soundfile.read(request.getfixturevalue("speech_data") / "en" / "jfk.wav", dtype="float32")
    return Audio(samples, rate)


def segments(engine: AsrEngine, audio: Audio, **options: Any) -> list[Segment]:
    return list(engine.transcribe(audio, TranscribeOptions(**options)).segments)


def text(engine: AsrEngine, audio: Audio, **options: Any) -> str:
    return "".join(segment.text for segment in segments(engine, audio, **options))


def close(transcription: Transcription) -> None:
    transcription.segments.close()  # type: ignore[attr-defined]


def test_every_engine_of_ours_has_a_case() -> None:
    assert {param.values[0].name for param in CASES} == set(engine_factory.TABLE)


@pytest.mark.parametrize("samples", [0, 1, 100, 400])
@pytest.mark.parametrize("vad", [True, False])
def test_hardly_any_audio_is_no_segments(engine: AsrEngine, samples: int, vad: bool) -> None:
    without = {} if vad else {"vad": None}
    assert segments(engine, Audio(np.zeros(samples, np.float32), RATE), language="en", **without) == []


def test_silence_is_no_segments_and_no_language(engine: AsrEngine) -> None:
    found = engine.transcribe(Audio(np.zeros(3 * RATE, np.float32), RATE), TranscribeOptions())
    assert list(found.segments) == []
    assert found.language is None
    assert found.language_probability == 0.0
    assert found.duration == 3.0


def test_language_and_duration_are_known_before_the_first_segment(engine: AsrEngine, speech: Audio) -> None:
    found = engine.transcribe(speech, TranscribeOptions())
    close(found)
    assert found.language == "en"
    assert 0.5 < found.language_probability <= 1.0
    assert found.duration == speech.duration


def test_a_given_language_is_certain(engine: AsrEngine, speech: Audio) -> None:
    found = engine.transcribe(speech, TranscribeOptions(language="en"))
    close(found)
    assert (found.language, found.language_probability) == ("en", 1.0)


@pytest.mark.parametrize("words", [False, True])
def test_times_lie_within_the_audio_and_never_go_back(engine: AsrEngine, speech: Audio, words: bool) -> None:
    reached = 0.0
    found = segments(engine, speech, word_timestamps=words)
    assert found
    for segment in found:
        assert reached <= segment.start <= segment.end <= speech.duration
        assert segment.text.strip()
        reached = segment.end


def test_joined_words_are_the_text_and_lie_inside_the_segment(engine: AsrEngine, speech: Audio) -> None:
    for segment in segments(engine, speech, word_timestamps=True):
        assert "".join(word.word for word in segment.words) == segment.text
        reached = segment.start
        for word in segment.words:
            assert reached <= word.start <= word.end <= segment.end
            assert 0.0 <= word.probability <= 1.0
            reached = word.end


def test_words_only_when_asked_for(engine: AsrEngine, speech: Audio) -> None:
    assert all(segment.words == () for segment in segments(engine, speech))


@pytest.mark.parametrize("words", [False, True])
def test_joined_tokens_are_the_text_when_their_logprobs_are_asked_for(
    engine: AsrEngine, speech: Audio, words: bool
) -> None:
    if not engine.gives_logprobs:
        pytest.skip("the engine says that it has none")
    assert all(segment.logprobs == () for segment in segments(engine, speech, word_timestamps=words))
    for segment in segments(engine, speech, logprobs=True, word_timestamps=words):
        assert bytes(byte for token in segment.logprobs for byte in token.bytes).decode() == segment.text
        assert all(token.logprob <= 0.0 for token in segment.logprobs)
        assert bool(segment.words) == words


def test_same_input_gives_the_same_text(engine: AsrEngine, speech: Audio) -> None:
    first = text(engine, speech)
    assert first
    assert text(engine, speech) == first


def test_calls_at_once_give_what_calls_in_turn_give(engine: AsrEngine, speech: Audio) -> None:
    half = Audio(speech.samples[: len(speech.samples) // 2], RATE)
    wanted = [text(engine, audio, language="en") for audio in (speech, half)]
    with ThreadPoolExecutor(WORKERS) as pool:
        assert list(pool.map(lambda audio: text(engine, audio, language="en"), (speech, half))) == wanted


def test_closing_early_frees_the_engine(engine: AsrEngine, speech: Audio) -> None:
    found = engine.transcribe(speech, TranscribeOptions(language="en"))
    assert next(found.segments).text
    close(found)
    assert next(found.segments, None) is None
    assert text(engine, speech)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(engine: AsrEngine, speech: Audio, bad: float) -> None:
    samples = speech.samples.copy()
    samples[len(samples) // 2] = bad
    with pytest.raises(InvalidAudio):
        engine.transcribe(Audio(samples, RATE), TranscribeOptions())
    with pytest.raises((InvalidAudio, NotSupported)):
        engine.detect_language(Audio(samples, RATE))


def test_two_dimensions_are_refused(engine: AsrEngine) -> None:
    with pytest.raises(InvalidAudio):
        engine.transcribe(Audio(np.zeros((2, RATE), np.float32), RATE), TranscribeOptions())


def test_what_cannot_be_done_is_refused_at_once(case: Case, engine: AsrEngine, speech: Audio) -> None:
    for options, error in case.unsupported:
        with pytest.raises(error) as caught:
            engine.transcribe(speech, TranscribeOptions(**options))
        assert caught.value.param == next(iter(options))


def test_language_of_speech_and_of_silence(engine: AsrEngine, speech: Audio) -> None:
    if len(engine.languages) == 1:
        with pytest.raises(NotSupported):
            engine.detect_language(speech)
        return
    assert engine.detect_language(speech).language == "en"
    if not isinstance(engine, WindowEngine):  # which is given windows of speech only
        assert engine.detect_language(Audio(np.zeros(RATE, np.float32), RATE)).language is None


def test_the_samples_are_left_as_they_were(engine: AsrEngine, speech: Audio) -> None:
    before = speech.samples.copy()
    segments(engine, speech, language="en")
    assert np.array_equal(speech.samples, before)


def test_close_twice_is_fine(make: Callable[[], AsrEngine]) -> None:
    engine = make()
    engine.load()
    engine.close()
    engine.close()
    make().close()  # and without a load
