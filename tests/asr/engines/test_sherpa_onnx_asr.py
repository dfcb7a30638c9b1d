"""The sherpa-onnx engine for recognition: results of the library as segments, and what it is told.

Where sherpa-onnx is installed, the engine runs two tiny networks, of recordings and of streams, whose text means
nothing; of the other families only what they are made with is held against the library. Whisper's real weights are
in the contract suite.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asr.engines.sherpa_onnx import SherpaOnnxEngine
from asr.engines.sherpa_onnx_languages import known_languages
from asr.engines.sherpa_onnx_options import SherpaOnnxOptions, arguments, favours_words
from asr.engines.sherpa_onnx_stream import hotwords
from asr.engines.sherpa_onnx_text import Heard, heard, segments
from asr.service import AsrService
from asr.settings import AsrSettings
from asr.stream import AsrStream, StreamText
from asr.transcript import TranscribeOptions
from core import sherpa
from core.engines import EngineContext
from core.errors import (
    InternalError,
    InvalidAudio,
    InvalidRequest,
    ModelBroken,
    NotSupported,
    UnsupportedParameter,
    UnsupportedTask,
)
from core.settings import Places
from core.sherpa import SherpaModel
from tests.core.test_sherpa import FOLDERS, folder
from tests.sherpa_networks import CHARACTERS, write_network, write_streaming_network, write_transducer
from utils.audio.pcm import Audio

needs_sherpa = pytest.mark.skipif(find_spec("sherpa_onnx") is None, reason="sherpa-onnx is not installed")
RATE = 16_000
NOISE = Audio(np.random.default_rng(1).normal(0, 0.1, 5 * RATE).clip(-1, 1).astype(np.float32), RATE)


def result(text: str = "", **values: Any) -> Any:
    return SimpleNamespace(text=text, **{"tokens": [], "timestamps": [], **values})


def test_tokens_with_times_become_words_and_sentences() -> None:
    found = heard(
        result(" Hi there. Bye", tokens=[" Hi", " the", "re", ".", " Bye"], timestamps=[0.1, 0.5, 0.7, 0.8, 3])
    )
    first, second = segments(found, 4.0, words=True)
    assert [word.word for word in first.words] == [" Hi", " there."]
    assert (first.text, first.start, second.text, second.start) == (" Hi there.", 0.1, " Bye", 3.0)
    assert first.words[0].end <= first.words[1].start
    assert second.end <= 4.0
    assert all(segment.words == () for segment in segments(found, 4.0, words=False))


def test_a_long_pause_ends_a_segment() -> None:
    found = Heard("one two", tokens=("one", " two"), starts=(0.0, 2.0))
    assert [segment.text for segment in segments(found, 3.0, words=False)] == [" one", " two"]


def test_texts_without_times_fill_the_window() -> None:
    (segment,) = segments(Heard("one two"), 3.0, words=True)
    assert (segment.start, segment.end, segment.text) == (0.0, 3.0, " one two")
    assert [word.word for word in segment.words] == [" one", " two"]


def test_whispers_own_segments_are_kept_inside_the_window() -> None:
    found = result("a b", segment_texts=[" a", " b"], segment_timestamps=[0.0, 2.0], segment_durations=[2.0, 9.0])
    assert [(each.text, each.start, each.end) for each in segments(heard(found), 5.0, words=False)] == [
        (" a", 0.0, 2.0),
        (" b", 2.0, 5.0),
    ]


def test_scripts_without_blanks_get_none() -> None:
    text = "\u4f60\u597d"
    (segment,) = segments(Heard(text, tokens=tuple(text), starts=(0.0, 0.3)), 1.0, words=True)
    assert segment.text == text
    assert [word.word for word in segment.words] == list(text)


def test_times_of_a_stream_go_on_from_its_last_end() -> None:
    (segment,) = segments(Heard("one", tokens=("one",), starts=(0.5,)), 12.0, words=False, offset=10.0)
    assert segment.start == 10.5


def test_silence_is_no_segments_and_a_language_is_a_code() -> None:
    assert segments(heard(result("  ")), 1.0, words=True) == ()
    assert heard(result(lang="<|en|>")).language == "en"


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (SherpaModel(family="whisper", kind="offline"), {"language": "", "enable_segment_timestamps": True}),
        (SherpaModel(family="sense_voice", kind="offline"), {"use_itn": True}),
        (SherpaModel(family="transducer", kind="offline"), {"model_type": "transducer"}),
        (
            SherpaModel(family="transducer", kind="offline", facts={"model_type": "EncDecRNNTBPEModel"}),
            {"model_type": "nemo_transducer"},
        ),
        (SherpaModel(family="transducer", kind="online"), {"enable_endpoint_detection": True}),
    ],
)
def test_what_a_family_is_made_with(tmp_path: Path, model: SherpaModel, wanted: dict[str, Any]) -> None:
    made = arguments(model, SherpaOnnxOptions(), folder=tmp_path, threads=3)
    assert made["num_threads"] == 3
    assert wanted.items() <= made.items()


def engine_of(monkeypatch: pytest.MonkeyPatch, family: str, **facts: str) -> SherpaOnnxEngine:
    monkeypatch.setattr(SherpaOnnxEngine, "requires", ())
    engine = SherpaOnnxEngine(EngineContext(model_id="some-model"))
    engine._model = SherpaModel(family=family, kind="offline", facts=facts)
    engine.languages = known_languages(engine._model, "")
    return engine


def test_what_a_family_cannot_be_told_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    english = engine_of(monkeypatch, "whisper", is_multilingual="0")
    with pytest.raises(UnsupportedTask):
        english.check(TranscribeOptions(task="translate"))
    for options in ({"language": "de"}, {"prompt": "x"}, {"hotwords": ("x",)}, {"beam_size": 5}, {"best_of": 5}):
        with pytest.raises(UnsupportedParameter) as caught:
            english.check(TranscribeOptions(**options))
        assert caught.value.param == next(iter(options))
    with pytest.raises(NotSupported):
        english.detect_language(NOISE)
    with pytest.raises(NotSupported):
        english.open_stream(TranscribeOptions())
    engine_of(monkeypatch, "whisper", is_multilingual="1", all_language_codes="en,de").check(
        TranscribeOptions(language="de", task="translate")
    )


@pytest.mark.parametrize("family", ["sense_voice", "transducer", "qwen3_asr"])
def test_a_language_is_refused_where_the_family_ignores_it(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    engine = engine_of(monkeypatch, family)
    with pytest.raises(UnsupportedParameter) as caught:
        engine.check(TranscribeOptions(language="en"))
    assert caught.value.param == "language"
    engine.languages = ("en",)
    engine.check(TranscribeOptions(language="en"))


@pytest.mark.parametrize("family", ["nemo_canary", "cohere_transcribe"])
def test_a_language_that_nobody_said_is_not_reported(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    engine = engine_of(monkeypatch, "whisper")
    engine._model, engine.languages = SherpaModel(family=family, kind="offline"), ("en", "de")
    assert engine.multilingual  # so that no window waits for the language of the one before
    for given in (None, "de"):
        work = engine.prepare(NOISE, TranscribeOptions(language=given))
        text = engine._text(work, Heard("Hallo."))
        assert (text.language, text.language_probability) == (given, 1.0 if given else 0.0)


def test_canary_translates_from_a_language_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(monkeypatch, "whisper")
    engine._model, engine.languages = SherpaModel(family="nemo_canary", kind="offline"), ("en", "de")
    engine.check(TranscribeOptions(task="translate", language="de"))
    with pytest.raises(InvalidRequest) as caught:
        engine.check(TranscribeOptions(task="translate"))
    assert caught.value.param == "language"


@pytest.mark.anyio
async def test_a_folder_of_canary_may_be_asked_to_translate(tmp_path: Path) -> None:
    notes = {"encoder.onnx": {"model_type": "EncDecMultiTaskModel"}}
    place = folder(tmp_path / "canary", "decoder.onnx", "tokens.txt", notes=notes)
    places = Places(cache=tmp_path / "cache", state=tmp_path / "state", tmp=tmp_path / "tmp")
    service = AsrService(AsrSettings(model=str(place), preload=False, places=places))
    try:
        model = service.host.default()
        assert (model.engine, model.id) == ("sherpa-onnx", "canary")
        service.check(TranscribeOptions(task="translate", language="de"), model=model)
    finally:
        await service.close()


def test_hotwords_are_no_commands_to_the_library() -> None:
    given = ("C#", "10:30", ":5 Anna", "@home /x", "one\ntwo", "#", "New  York")
    assert hotwords(TranscribeOptions(hotwords=given)) == "C/10 30/5 Anna/home x/one two/New York"


def test_hotwords_need_to_be_spelled_in_tokens(tmp_path: Path) -> None:
    model = SherpaModel(family="transducer", kind="offline")
    options = SherpaOnnxOptions(decoding_method="modified_beam_search")
    characters = SherpaOnnxOptions(decoding_method="modified_beam_search", modeling_unit="cjkchar")
    assert not favours_words(model, options, tmp_path)
    assert "modeling_unit" not in arguments(model, options, folder=tmp_path, threads=1)
    assert favours_words(model, characters, tmp_path)
    assert arguments(model, characters, folder=tmp_path, threads=1)["modeling_unit"] == "cjkchar"
    (tmp_path / "bpe.vocab").touch()
    assert favours_words(model, options, tmp_path)
    made = arguments(model, options, folder=tmp_path, threads=1)
    assert (made["modeling_unit"], made["bpe_vocab"]) == ("bpe", str(tmp_path / "bpe.vocab"))
    assert not favours_words(model, SherpaOnnxOptions(), tmp_path)


@needs_sherpa
def test_a_tiny_transducer_favours_hotwords(tmp_path: Path) -> None:
    beam = {"decoding_method": "modified_beam_search", "modeling_unit": "cjkchar", "hotwords_score": 20.0}
    engine = opened(write_transducer(tmp_path), **beam)
    engine.load()

    def written(*words: str) -> str:
        found = engine.transcribe(NOISE, TranscribeOptions(vad=None, hotwords=words))
        return "".join(segment.text for segment in found.segments)

    word = "".join(CHARACTERS[:4])
    assert word not in written()
    assert word in written(word)
    assert written(f"{word[:2]}/{word[2:]}") == written(f"{word[:2]} {word[2:]}")
    for words in (("C#",), (f"10:{word}",), (f":{word}",), (f"{word} :99",), ("/", "\n"), ("\u4f60",), ("@A",)):
        assert written(*words)
    without = opened(tmp_path, decoding_method="modified_beam_search")
    without.load()
    with pytest.raises(UnsupportedParameter) as caught:
        without.transcribe(NOISE, TranscribeOptions(hotwords=(word,)))
    assert caught.value.param == "hotwords"


@needs_sherpa
@pytest.mark.parametrize(("names", "notes", "family", "kind"), [each for each in FOLDERS if each[3] != "tts"])
def test_the_library_takes_what_a_family_is_made_with(
    tmp_path: Path, names: tuple[str, ...], notes: Any, family: str, kind: str
) -> None:
    import sherpa_onnx  # noqa: PLC0415 - only where it is installed

    model = sherpa.find(folder(tmp_path, "tokens.txt", *names, notes=notes))
    assert model is not None
    for method in ("greedy_search", "modified_beam_search"):
        options = SherpaOnnxOptions(decoding_method=method)
        made_by = sherpa_onnx.OnlineRecognizer if kind == "online" else sherpa_onnx.OfflineRecognizer
        make = inspect.signature(getattr(made_by, f"from_{family}"))
        make.bind(**arguments(model, options, folder=tmp_path, threads=1))


def opened(folder: Path, **options: Any) -> SherpaOnnxEngine:
    return SherpaOnnxEngine(EngineContext(model=folder, threads=1, workers=2, options={"languages": "en", **options}))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SherpaOnnxEngine]:
    engine = opened(write_network(tmp_path_factory.mktemp("tiny")))
    engine.load()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SherpaOnnxEngine]:
    engine = opened(write_streaming_network(tmp_path_factory.mktemp("streaming")))
    engine.load()
    yield engine
    engine.close()


@needs_sherpa
def test_a_tiny_network_writes_words_with_times(tiny: SherpaOnnxEngine) -> None:
    found = tiny.transcribe(NOISE, TranscribeOptions(vad=None, word_timestamps=True))
    assert (found.language, found.language_probability) == ("en", 1.0)
    written = list(found.segments)
    assert {word for each in written for word in each.text.replace(".", " ").split()} <= {"one", "two", "three", "four"}
    assert written
    reached = 0.0
    for each in written:
        assert reached <= each.start <= each.end <= NOISE.duration
        assert "".join(word.word for word in each.words) == each.text
        reached = each.end


@needs_sherpa
def test_a_tiny_network_is_refused_what_it_cannot_do(tiny: SherpaOnnxEngine) -> None:
    assert not tiny.streams
    with pytest.raises(NotSupported):
        tiny.open_stream(TranscribeOptions())
    for options, error in (({"task": "translate"}, UnsupportedTask), ({"language": "de"}, UnsupportedParameter)):
        with pytest.raises(error):
            tiny.transcribe(NOISE, TranscribeOptions(**options))


def loud_and_silent(*seconds: float) -> np.ndarray:
    """Return noise and silence by turns."""
    parts = [NOISE.samples[: round(RATE * each)] * (at % 2 == 0) for at, each in enumerate(seconds)]
    return np.concatenate(parts).astype(np.float32)


def fed(stream: AsrStream, samples: np.ndarray, size: int = RATE // 2) -> list[StreamText]:
    """Return what a stream tells about samples that come in pieces."""
    starts = range(0, len(samples), size)
    return [stream.feed(samples[at : at + size], last=at + size >= len(samples)) for at in starts]


@needs_sherpa
def test_a_stream_tells_what_is_final_and_what_may_change(streaming: SherpaOnnxEngine) -> None:
    assert streaming.streams
    told = fed(streaming.open_stream(TranscribeOptions(word_timestamps=True)), loud_and_silent(2, 4, 2))
    first = next(at for at, each in enumerate(told) if each.segments)
    assert 2 * 2 < first < 4 * 2  # it ends after a second of silence, and not much later
    pending = [each.pending for each in told[:first]]
    assert pending[3]
    assert told[first].segments[0].text.strip().startswith(pending[3])
    assert told[-1].pending == ""
    final = [segment for each in told for segment in each.segments]
    assert [segment.start >= 6.0 for segment in final] == [False, True]
    reached = 0.0
    for segment in final:
        assert reached <= segment.start < segment.end <= 8.0
        assert "".join(word.word for word in segment.words) == segment.text
        reached = segment.end


@needs_sherpa
def test_a_recording_through_a_model_of_streams_is_what_the_stream_says(streaming: SherpaOnnxEngine) -> None:
    samples = loud_and_silent(3)
    whole = streaming.transcribe(Audio(samples, RATE), TranscribeOptions(vad=None))
    streamed = fed(streaming.open_stream(TranscribeOptions()), samples, size=1_000)
    assert [each.text for each in whole.segments] == [each.text for text in streamed for each in text.segments] != []


@needs_sherpa
def test_streams_at_once_know_nothing_of_each_other(streaming: SherpaOnnxEngine) -> None:
    sounds = [loud_and_silent(2), loud_and_silent(0.5, 0.2, 3)]
    alone = [fed(streaming.open_stream(TranscribeOptions()), each) for each in sounds]
    with ThreadPoolExecutor(2) as pool:
        streams = [streaming.open_stream(TranscribeOptions()) for _ in sounds]
        assert list(pool.map(fed, streams, sounds)) == alone


@needs_sherpa
def test_a_stream_takes_numbers_only_until_it_is_closed(streaming: SherpaOnnxEngine) -> None:
    stream = streaming.open_stream(TranscribeOptions())
    assert stream.feed(np.zeros(0, np.float32)) == StreamText()
    with pytest.raises(InvalidAudio):
        stream.feed(np.full(RATE, np.nan, np.float32))
    stream.close()
    stream.close()
    with pytest.raises(InternalError):
        stream.feed(NOISE.samples)
    with pytest.raises(UnsupportedTask):
        streaming.open_stream(TranscribeOptions(task="translate"))


@needs_sherpa
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("model.onnx", b"MatMul", b"NoSuch"),
        ("model.onnx", b"zipformer2_ctc", b"telespeech_ctc"),  # which has other features
        ("model.onnx", b"zipformer2_ctc", b"EncDecCTCxxxxx"),  # whose metadata are not there
        ("model.onnx", b"MatMul", b""),
        ("tokens.txt", b"<blk>", b"blank"),
        ("tokens.txt", b" 1", b" one"),
        ("tokens.txt", b" 4", b" 9"),
    ],
)
def test_a_damaged_model_is_said_to_be_one(tmp_path: Path, name: str, before: bytes, after: bytes) -> None:
    path = write_network(tmp_path) / name
    path.write_bytes(path.read_bytes().replace(before, after))
    engine = opened(tmp_path)
    with pytest.raises(ModelBroken):
        engine.load()
