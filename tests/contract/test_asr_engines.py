"""What every ASR engine must do, asserted the same way over each of them: a new engine adds one line to CASES."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
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
from tests.remote_stubs import Stub, serving, whisper_cpp
from tests.sherpa_networks import write_network, write_streaming_network
from utils.audio.pcm import Audio

ROOT = Path(__file__).resolve().parents[2]
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
    convert: Callable[[Path, Path], Path] | None = None
    """What makes the engine's own model of the catalogue's: it is given both folders."""
    write: Callable[[Path], Path] | None = None
    """What writes a tiny model into a folder."""
    options: dict[str, Any] = field(default_factory=dict)
    serve: str | None = None
    """The fixture of the server that the engine asks."""


ENGLISH_ONLY = (
    ({"language": "de"}, UnsupportedParameter),
    ({"languages": ("de", "en")}, UnsupportedParameter),
    ({"task": "translate"}, UnsupportedTask),
)
WHISPER_BASE = (({"language": "xx"}, UnsupportedParameter), ({"languages": ("en", "xx")}, UnsupportedParameter))
CRISPASR_BASE = (
    *WHISPER_BASE,
    ({"languages": ("en", "de")}, UnsupportedParameter),
    ({"prompt": "x"}, UnsupportedParameter),
)
CRISPASR = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_spec("crispasr") is None, reason="crispasr is not installed"),
]


def ggml(model: Path, folder: Path) -> Path:
    """Write whisper.cpp's file with the same weights."""
    from scripts.convert_whisper import write_ggml  # noqa: PLC0415 - where it is needed

    write_ggml(model, folder / "ggml-model.bin")
    return folder


WHISPER = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_spec("whisper") is None, reason="openai-whisper is not installed: run make test-extras"),
    pytest.mark.filterwarnings("default"),  # numba and torch warn about each other
]


def checkpoint(model: Path, folder: Path) -> Path:
    """Write openai-whisper's file with the same weights."""
    from scripts.convert_whisper import write_checkpoint  # noqa: PLC0415 - where it is needed

    write_checkpoint(model, folder / "model.pt")
    return folder


SHERPA = pytest.mark.skipif(find_spec("sherpa_onnx") is None, reason="sherpa-onnx is not installed")
ENGLISH = {"languages": "en"}
CONVERTER = os.environ.get("CONVERTER_PYTHON")
"""The Python of an environment with openai-whisper and onnx, where this one has none."""
SHERPA_WHISPER = [
    pytest.mark.e2e,
    SHERPA,
    pytest.mark.skipif(
        not CONVERTER and any(find_spec(name) is None for name in ("onnx", "torch", "whisper")),
        reason="openai-whisper or onnx is not installed",
    ),
]
SHERPA_TINY = (*ENGLISH_ONLY, ({"beam_size": 5}, UnsupportedParameter))


def onnx(model: Path, folder: Path) -> Path:
    """Write the same weights as sherpa-onnx opens them."""
    target = folder / "model-onnx"
    command = [CONVERTER or sys.executable, "-W", "ignore", ROOT / "scripts" / "convert_whisper.py", model, target]
    subprocess.run(command, check=True)
    return target


NO_PROMPT = ({"prompt": "x"}, UnsupportedParameter)
SLOW = pytest.mark.slow
ONE_LANGUAGE = ({"languages": ("en", "de")}, UnsupportedParameter)
CASES = [
    # Another instance of our service with the fake engine, and a stub of whisper.cpp's server.
    pytest.param(
        Case("openai", None, True, (ONE_LANGUAGE, ({"beam_size": 5}, UnsupportedParameter)), serve="fake_asr"),
        id="openai",
        marks=pytest.mark.e2e,
    ),
    pytest.param(Case("whisper-server", hears=True, serve="whisper_cpp_server"), id="whisper-server"),
    pytest.param(Case("fake"), id="fake"),
    pytest.param(Case("fake-windows", hears=True), id="fake-windows"),
    pytest.param(Case("faster-whisper", "whisper-tiny.en", True, ENGLISH_ONLY), id="tiny.en", marks=pytest.mark.e2e),
    pytest.param(Case("faster-whisper", "whisper-base", True, WHISPER_BASE), id="base", marks=pytest.mark.e2e),
    pytest.param(Case("whisper", "whisper-tiny.en", True, ENGLISH_ONLY, checkpoint), id="pt-tiny.en", marks=WHISPER),
    pytest.param(Case("whisper", "whisper-base", True, WHISPER_BASE, checkpoint), id="pt-base", marks=[*WHISPER, SLOW]),
    pytest.param(Case("crispasr", "whisper-tiny.en", True, ENGLISH_ONLY, ggml), id="crispasr-tiny.en", marks=CRISPASR),
    pytest.param(
        Case("crispasr", "whisper-base", True, CRISPASR_BASE, ggml), id="crispasr-base", marks=[*CRISPASR, SLOW]
    ),
    pytest.param(
        Case("sherpa-onnx", "whisper-tiny.en", True, (*ENGLISH_ONLY, NO_PROMPT), onnx),
        id="sherpa-tiny.en",
        marks=SHERPA_WHISPER,
    ),
    pytest.param(
        Case("sherpa-onnx", "whisper-base", True, (*WHISPER_BASE, ONE_LANGUAGE, NO_PROMPT), onnx),
        id="sherpa-base",
        marks=[*SHERPA_WHISPER, SLOW],
    ),
    pytest.param(
        Case("sherpa-onnx", None, True, SHERPA_TINY, write=write_network, options=ENGLISH), id="sherpa", marks=SHERPA
    ),
    pytest.param(
        Case("sherpa-onnx", None, True, SHERPA_TINY, write=write_streaming_network, options=ENGLISH),
        id="sherpa-streaming",
        marks=SHERPA,
    ),
]


@pytest.fixture(scope="module")
def whisper_cpp_server() -> Iterator[Stub]:
    """What speaks the API of whisper.cpp's server."""
    with serving(whisper_cpp) as stub:
        yield stub


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def make(
    case: Case,
    model_dir: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Callable[[], AsrEngine]:
    """A function that makes an engine of the case, not loaded."""
    folder = model_dir(case.model) if case.model else None
    if folder and case.convert:
        folder = case.convert(folder, tmp_path_factory.mktemp("converted"))
    if case.write:
        folder = case.write(tmp_path_factory.mktemp("written"))
    options = case.options | ({"url": request.getfixturevalue(case.serve).url} if case.serve else {})
    context = EngineContext(model=folder, model_id=case.model or "", threads=1, workers=WORKERS, options=options)
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


def test_a_stream_is_opened_where_the_engine_says_so(engine: AsrEngine, speech: Audio) -> None:
    if not engine.streams:
        with pytest.raises(NotSupported):
            engine.open_stream(TranscribeOptions())
        return
    stream = engine.open_stream(TranscribeOptions(word_timestamps=True))
    starts = range(0, len(speech.samples), RATE)
    told = [stream.feed(speech.samples[at : at + RATE], last=at == starts[-1]) for at in starts]
    stream.close()
    assert any(each.pending for each in told)
    reached = 0.0
    final = [segment for each in told for segment in each.segments]
    assert final
    for segment in final:
        assert reached <= segment.start <= segment.end <= speech.duration
        assert "".join(word.word for word in segment.words) == segment.text
        reached = segment.end


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
