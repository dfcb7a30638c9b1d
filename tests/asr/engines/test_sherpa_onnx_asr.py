"""The sherpa-onnx engine for recognition: results of the library as segments, and what it is told.

No trained weights of its families are at hand: where sherpa-onnx is installed, the engine runs a tiny CTC network that
is written here, whose text means nothing; elsewhere and for the other families the library is a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asr.engines.sherpa_onnx import SherpaOnnxEngine
from asr.engines.sherpa_onnx_options import SherpaOnnxOptions, arguments
from asr.engines.sherpa_onnx_stream import SherpaStream
from asr.engines.sherpa_onnx_text import Heard, heard, segments
from asr.transcript import TranscribeOptions
from core.engines import EngineContext
from core.errors import InternalError, InvalidAudio, ModelBroken, NotSupported, UnsupportedParameter, UnsupportedTask
from core.sherpa import SherpaModel
from utils.audio.pcm import Audio
from utils.onnx_metadata import more_metadata
from utils.onnx_outputs import field

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
    engine.languages = engine._known_languages(Path())
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
    with pytest.raises(UnsupportedParameter):
        engine_of(monkeypatch, "sense_voice").check(TranscribeOptions(language="en"))
    engine_of(monkeypatch, "whisper", is_multilingual="1", all_language_codes="en,de").check(
        TranscribeOptions(language="de", task="translate")
    )


class Streams:
    """As OnlineRecognizer: every second of audio is a word, and an end after two of them."""

    def create_stream(self, hotwords: str | None = None) -> Any:
        stream = SimpleNamespace(seconds=0.0, read=0, start=0)
        stream.accept_waveform = lambda rate, samples: setattr(stream, "seconds", stream.seconds + len(samples) / rate)
        stream.input_finished = lambda: None
        return stream

    def is_ready(self, stream: Any) -> bool:
        return stream.read + 1 <= stream.seconds

    def decode_stream(self, stream: Any) -> None:
        stream.read += 1

    def is_endpoint(self, stream: Any) -> bool:
        return stream.read - stream.start == 2

    def reset(self, stream: Any) -> None:
        stream.start = stream.read

    def get_result_all(self, stream: Any) -> Any:
        count = stream.read - stream.start
        tokens = [f" w{stream.start + each}" for each in range(count)]
        return result("".join(tokens), tokens=tokens, timestamps=list(range(count)), start_time=stream.start)


def test_a_stream_tells_what_is_final_and_what_may_change() -> None:
    stream = SherpaStream(Streams(), TranscribeOptions())
    second = np.zeros(RATE, np.float32)
    assert stream.feed(second).pending == "w0"
    ended = stream.feed(second)
    assert "".join(each.text for each in ended.segments).split() == ["w0", "w1"]
    assert ended.pending == ""
    with pytest.raises(InvalidAudio):
        stream.feed(np.full(RATE, np.nan, np.float32))
    last = stream.feed(second, last=True)
    assert [(each.text, each.start) for each in last.segments] == [(" w2", 2.0)]
    stream.close()
    with pytest.raises(InternalError):
        stream.feed(second)


def number(key: int, value: int) -> bytes:
    assert value < 128
    return bytes([key << 3, value])


def tensor(name: str, values: np.ndarray) -> bytes:
    kind = {"float32": 1, "int64": 7}[values.dtype.name]
    dims = b"".join(number(1, size) for size in values.shape)
    return field(5, dims + number(2, kind) + field(8, name.encode()) + field(9, values.tobytes()))


def value(key: int, name: str, kind: int, *shape: int | str) -> bytes:
    dims = (field(1, number(1, size) if isinstance(size, int) else field(2, size.encode())) for size in shape)
    described = field(1, number(1, kind) + field(2, b"".join(dims)))
    return field(key, field(1, name.encode()) + field(2, described))


def node(op: str, inputs: str, output: str) -> bytes:
    given = b"".join(field(1, name.encode()) for name in inputs.split())
    return field(1, given + field(2, output.encode()) + field(4, op.encode()))


TOKENS = ("<blk>", "\u2581one", "\u2581two", "\u2581three", "\u2581four")


def write_network(folder: Path) -> Path:
    """Write a Zipformer CTC model as its exports are called, but of one matrix: every 40 ms some word or none."""
    weights = np.random.default_rng(0).normal(size=(80, len(TOKENS))).astype(np.float32)
    weights -= weights.mean(axis=0)  # loudness says nothing
    one = np.array([1], np.int64)
    graph = b"".join(
        [
            node("Slice", "x zero most one four", "sliced"),
            node("MatMul", "sliced weights", "scores"),
            node("LogSoftmax", "scores", "log_probs"),
            node("Add", "x_lens three", "more"),
            node("Div", "more four", "log_probs_len"),
            field(2, b"tiny"),
            tensor("weights", weights),
            *(tensor(name, one * size) for name, size in (("zero", 0), ("one", 1), ("three", 3), ("four", 4))),
            tensor("most", one * 1_000_000),
            value(11, "x", 1, "N", "T", 80),
            value(11, "x_lens", 7, "N"),
            value(12, "log_probs", 1, "N", "U", len(TOKENS)),
            value(12, "log_probs_len", 7, "N"),
        ]
    )
    notes = more_metadata({"model_type": "zipformer2_ctc", "version": "1", "comment": "tiny"})
    model = number(1, 8) + field(7, graph) + field(8, number(2, 13)) + notes
    (folder / "model.onnx").write_bytes(model)
    lines = [f"{token} {at}\n" for at, token in enumerate(TOKENS)]
    (folder / "tokens.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SherpaOnnxEngine]:
    folder = write_network(tmp_path_factory.mktemp("tiny"))
    engine = SherpaOnnxEngine(EngineContext(model=folder, threads=1, workers=2, options={"languages": "en"}))
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
    for options, error in (({"task": "translate"}, UnsupportedTask), ({"language": "de"}, UnsupportedParameter)):
        with pytest.raises(error):
            tiny.transcribe(NOISE, TranscribeOptions(**options))


@needs_sherpa
def test_a_damaged_network_is_said_to_be_one(tmp_path: Path) -> None:
    write_network(tmp_path)
    content = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content.replace(b"MatMul", b"NoSuch"))
    engine = SherpaOnnxEngine(EngineContext(model=tmp_path, threads=1))
    with pytest.raises(ModelBroken):
        engine.load()
