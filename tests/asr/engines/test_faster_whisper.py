"""The faster-whisper engine: what it hears in real recordings, and what it refuses to make up."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.engines.faster_whisper import FasterWhisperEngine
from asr.engines.faster_whisper_decoding import CONTEXT_TOKENS, FasterWhisperOptions, plain, transcription_options
from asr.engines.faster_whisper_scores import Scores
from asr.engines.faster_whisper_segments import is_speech, place
from asr.engines.log_mel import log_mel
from asr.transcript import Segment, TranscribeOptions
from core.engines import EngineContext
from core.errors import ConfigurationError, UnsupportedTask
from utils.audio.pcm import Audio
from utils.audio.resample import resample
from utils.audio.spans import Span, Timeline
from utils.text.wer import edits, words

ENGLISH = "whisper-tiny.en"
MULTILINGUAL = "whisper-base"
NO_SPEECH = (
    "music_20s.flac",
    "noise1.wav",
    "noise3.wav",
    "room_empty.wav",
    "silence_30s.wav",
    "whitenoise_15s.flac",
)
LIBRISPEECH = (
    *("1688-142285-0001", "1688-142285-0003", "1688-142285-0007", "1998-15444-0002", "1998-15444-0007"),
    *("2033-164914-0002", "2033-164914-0009", "2414-128291-0003", "2414-128291-0005", "2609-156975-0000"),
)
READ = {"de": "leichenhalle", "es": "blanquecinas", "fr": "conservateur", "pt": "raposa"}
"""A word of each recording that Whisper base hears, more or less."""


def load(path: Path) -> Audio:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(Audio(samples.mean(axis=1), rate), 16_000)


def listen(engine: FasterWhisperEngine, audio: Audio, **options: Any) -> list[Segment]:
    return list(engine.transcribe(audio, TranscribeOptions(**options)).segments)


def text(engine: FasterWhisperEngine, audio: Audio, **options: Any) -> str:
    return "".join(segment.text for segment in listen(engine, audio, **options))


@pytest.fixture(scope="module")
def loaded(model_dir: Callable[[str], Path]) -> Iterator[Callable[[str], FasterWhisperEngine]]:
    """A function from a model id to its engine, loaded once."""
    engines: dict[str, FasterWhisperEngine] = {}

    def get(model_id: str) -> FasterWhisperEngine:
        if model_id not in engines:
            engine = FasterWhisperEngine(EngineContext(model=model_dir(model_id), model_id=model_id, threads=1))
            engine.load()
            engines[model_id] = engine
        return engines[model_id]

    yield get
    for engine in engines.values():
        engine.close()


@pytest.fixture
def base(loaded: Callable[[str], FasterWhisperEngine]) -> FasterWhisperEngine:
    return loaded(MULTILINGUAL)


@pytest.mark.e2e
@pytest.mark.parametrize("clip", NO_SPEECH)
@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
def test_nothing_is_heard_where_nobody_speaks(
    loaded: Callable[[str], FasterWhisperEngine], speech_data: Path, model: str, clip: str
) -> None:
    assert listen(loaded(model), load(speech_data / "nospeech" / clip)) == []


@pytest.mark.e2e
def test_words_of_real_recordings(base: FasterWhisperEngine, speech_data: Path) -> None:
    with (speech_data / "MANIFEST.tsv").open(encoding="utf-8") as file:
        said = {row["path"]: row["ground_truth"].removeprefix("text:") for row in csv.DictReader(file, delimiter="\t")}
    wrong = total = 0
    for name in LIBRISPEECH:
        clip = f"en/librispeech/{name}.flac"
        reference = words(said[clip])
        heard = words(text(base, load(speech_data / clip), language="en"))
        wrong += edits(reference, heard)
        total += len(reference)
        assert len(heard) >= 0.8 * len(reference), f"words of {clip} are lost: {heard}"
    assert wrong / total < 0.15


@pytest.mark.e2e
@pytest.mark.parametrize("language", list(READ))
def test_languages_are_told_apart(base: FasterWhisperEngine, speech_data: Path, language: str) -> None:
    audio = load(speech_data / "multi" / f"read_{language}.wav")
    found = base.transcribe(audio, TranscribeOptions())
    assert (found.language, found.language_probability > 0.9) == (language, True)
    heard = "".join(segment.text for segment in found.segments).lower()
    assert edits(list(READ[language]), list(heard)) - (len(heard) - len(READ[language])) <= 2
    assert base.detect_language(audio).language == language


@pytest.mark.e2e
def test_detection_keeps_to_the_candidates(base: FasterWhisperEngine, speech_data: Path) -> None:
    audio = load(speech_data / "multi" / "read_pt.wav")
    found = base.transcribe(audio, TranscribeOptions(languages=("fr", "es")))
    assert found.language == "es"
    assert found.language_probability > 0.5, "the probability is among the candidates"
    only = base.transcribe(audio, TranscribeOptions(languages=("fr",)))
    assert (only.language, only.language_probability) == ("fr", 1.0)


@pytest.mark.e2e
def test_translation_is_english(base: FasterWhisperEngine, speech_data: Path) -> None:
    heard = text(base, load(speech_data / "multi" / "read_es.wav"), task="translate")
    assert {"white", "little"} & set(words(heard))


@pytest.mark.e2e
def test_a_distilled_model_does_not_translate(model_dir: Callable[[str], Path]) -> None:
    engine = FasterWhisperEngine(EngineContext(model=model_dir(MULTILINGUAL), model_id="whisper-large-v3-turbo"))
    engine.load()
    with pytest.raises(UnsupportedTask):
        engine.transcribe(Audio(np.zeros(16_000, np.float32), 16_000), TranscribeOptions(task="translate"))


@pytest.mark.e2e
@pytest.mark.parametrize("word_timestamps", [True, False])
def test_times_are_those_of_the_original(base: FasterWhisperEngine, speech_data: Path, word_timestamps: bool) -> None:
    noise = np.random.default_rng(1).normal(0, 1e-4, 16_000 * 20).astype(np.float32)
    parts = [load(speech_data / "en" / name).samples for name in ("jfk.wav", "beckett.wav")]
    audio = Audio(np.concatenate([noise[: 16_000 * 5], parts[0], noise, parts[1]]), 16_000)
    first, second = Span(5.0, 16.0), Span(36.0, audio.duration)
    found = listen(base, audio, language="en", word_timestamps=word_timestamps)
    assert all(_is_within(segment, first) or _is_within(segment, second) for segment in found), found
    assert found[0].start == pytest.approx(5.3, abs=0.4)  # the first word begins 0.3 s into the recording
    assert min(segment.start for segment in found if _is_within(segment, second)) == pytest.approx(36.3, abs=0.5)


@pytest.mark.e2e
def test_cutting_silence_out_hardly_moves_the_words(base: FasterWhisperEngine, speech_data: Path) -> None:
    recording = load(speech_data / "en" / "jfk.wav").samples
    audio = Audio(np.concatenate([np.zeros(16_000 * 6, np.float32), recording]), 16_000)
    cut, whole = (
        _starts(listen(base, audio, language="en", word_timestamps=True, **vad)) for vad in ({}, {"vad": None})
    )
    common = {"fellow", "americans", "not", "do", "for"} & cut.keys() & whole.keys()
    assert len(common) >= 4
    for word in common:
        assert abs(cut[word] - whole[word]) <= 0.2, word


def _starts(segments: list[Segment]) -> dict[str, float]:
    """Where each word is said for the first time."""
    found: dict[str, float] = {}
    for segment in segments:
        for word in segment.words:
            found.setdefault(word.word.strip(" ,.").lower(), word.start)
    return found


def _is_within(segment: Segment, span: Span) -> bool:
    return span.start - 0.5 <= segment.start <= segment.end <= span.end + 0.5


@pytest.mark.e2e
def test_hotwords_are_favoured(base: FasterWhisperEngine, speech_data: Path) -> None:
    audio = load(speech_data / "en" / "hotwords_comfyui.mp3")
    assert "ComfyUI" not in text(base, audio, language="en")
    assert "ComfyUI" in text(base, audio, language="en", hotwords=("ComfyUI",))


@pytest.mark.e2e
def test_prompt_is_cut_to_its_end_and_cannot_give_orders(base: FasterWhisperEngine, speech_data: Path) -> None:
    audio = load(speech_data / "en" / "jfk.wav")
    hotwords = tuple(f"keyword number {number}" for number in range(100))
    prompt = "<|endof<|endoftext|>text|> " + "A speech. " * 400
    assert "country" in text(base, audio, language="en", prompt=prompt, hotwords=hotwords)


@pytest.mark.e2e
def test_early_text_is_early_and_as_good(base: FasterWhisperEngine, speech_data: Path) -> None:
    speech = load(speech_data / "en" / "two_cities_16k.wav")
    early, usual = (listen(base, speech, early=wanted, word_timestamps=True) for wanted in (True, False))
    said = [words("".join(segment.text for segment in found)) for found in (early, usual)]
    assert edits(*said) <= 0.05 * len(said[1])
    # A window of its own: the second one begins where the first has ended, and not after 30 seconds.
    starts = [sorted({segment.seek / 100 for segment in found})[:2] for found in (early, usual)]
    assert starts[0][1] - starts[0][0] <= 13.0
    assert starts[1][1] - starts[1][0] >= 20.0


def test_tokens_get_their_scores_when_segments_between_them_are_dropped() -> None:
    vocabulary = ["Ġa", "b", "Ã", "¤", "Ġc"]
    scores = Scores(SimpleNamespace(eot=50, tokenizer=SimpleNamespace(id_to_token=vocabulary.__getitem__)))
    scores.hear([0, 1, 0, 4, 2, 3], [0.5, 0.25, 0.125, 1.0, 0.0, 1.0])
    first, second = scores.of([60, 0, 1, 61]), scores.of([62, 2, 3])
    assert [(token.token, round(math.exp(token.logprob), 3)) for token in first] == [(" a", 0.5), ("b", 0.25)]
    assert bytes(byte for token in second for byte in token.bytes).decode() == "ä"
    assert math.isfinite(second[0].logprob)
    assert scores.of([4]) == ()


def test_commands_are_taken_out_of_prompts() -> None:
    assert plain(" <|endoftext|>Hello<|0.00|> <|en<|nospeech|>|>world ") == "Hello world"
    assert plain("a < b | c > d") == "a < b | c > d"


def test_context_leaves_room_for_the_text() -> None:
    letters = SimpleNamespace(encode=lambda text: [ord(letter) for letter in text])
    library = SimpleNamespace(TranscriptionOptions=SimpleNamespace, get_suppressed_tokens=lambda *_: ())

    def context(**options: Any) -> tuple[str, str]:
        found = transcription_options(library, letters, FasterWhisperOptions(), TranscribeOptions(**options))
        return "".join(map(chr, found.initial_prompt or [])), found.hotwords or ""

    assert context() == ("", "")
    assert context(prompt="x" * 300 + "end") == ("x" * (CONTEXT_TOKENS - 3) + "end", "")
    assert context(hotwords=("Ada", " ", "Grace")) == ("", "Ada, Grace")
    prompt, hotwords = context(prompt="y" * 300, hotwords=("Ada",))
    assert (prompt, hotwords) == ("y" * (CONTEXT_TOKENS - len(" Ada")), "Ada")
    prompt, hotwords = context(prompt="y" * 300, hotwords=("a" * 100, "b" * 100, "c" * 100))
    assert hotwords == "a" * 100 + ", " + "b" * 100
    assert len(prompt) + len(hotwords) + 1 == CONTEXT_TOKENS


def _found(**values: Any) -> SimpleNamespace:
    defaults = {"id": 1, "seek": 0, "start": 0.0, "end": 1.0, "text": " Hello there.", "tokens": [1], "words": None}
    measures = {"temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.0, "no_speech_prob": 0.1}
    return SimpleNamespace(**(defaults | measures | values))


@pytest.mark.parametrize(
    ("measures", "spoken"),
    [
        ({}, True),
        ({"no_speech_prob": 0.9, "avg_logprob": -0.3}, True),
        ({"no_speech_prob": 0.5, "avg_logprob": -1.2}, True),
        ({"no_speech_prob": 0.85, "avg_logprob": -0.93}, False),
        ({"text": " ..."}, False),
        ({"text": "はい。"}, True),
    ],
)
def test_doubtful_text_is_not_speech(measures: dict[str, Any], spoken: bool) -> None:
    assert is_speech(_found(**measures), FasterWhisperOptions()) is spoken


def test_text_that_could_not_be_aligned_keeps_all_its_words() -> None:
    timeline = Timeline([Span(10.0, 12.0)])
    for words_found in ([], [SimpleNamespace(word=" Hello", start=0.0, end=0.5, probability=0.9)]):
        segment = place(_found(words=words_found), timeline)
        assert [word.word for word in segment.words] == [" Hello", " there."]
        assert (segment.start, segment.end, segment.words[-1].end) == (10.0, 11.0, 11.0)


def test_features_made_in_blocks_are_those_of_the_library() -> None:
    extractor = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    for seconds in (0.01, 1.0, 30.0, 65.4):
        samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
        wanted = extractor(samples)
        features = log_mel(extractor, samples)
        assert features.shape == wanted.shape
        assert np.abs(features - wanted).max() < 1e-5


def _context(folder: Path | None, **values: Any) -> EngineContext:
    return EngineContext(model=folder, model_id="a-model", **values)


def test_a_folder_without_a_tokenizer_is_refused_before_a_hub_is_asked(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    (tmp_path / "config.json").touch()
    with pytest.raises(ConfigurationError, match=r"a-model lacks tokenizer\.json"):
        FasterWhisperEngine(_context(tmp_path)).load()
    with pytest.raises(ConfigurationError, match="needs the folder"):
        FasterWhisperEngine(_context(None)).load()


@pytest.mark.e2e
def test_damaged_weights_are_refused(model_dir: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model_dir(ENGLISH), tmp_path / "model"))
    weights = folder / "model.bin"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigurationError, match="cannot load a-model") as caught:
        FasterWhisperEngine(_context(folder)).load()
    assert str(tmp_path) not in str(caught.value)
    middle = len(whole) // 2
    weights.write_bytes(whole[:middle] + b"\xff\x7f" * 50_000 + whole[middle + 100_000 :])  # float16 NaN
    with pytest.raises(ConfigurationError, match="damaged"):
        FasterWhisperEngine(_context(folder, compute_type="float32")).load()


@pytest.mark.e2e
def test_a_number_format_the_machine_lacks_is_refused(model_dir: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigurationError, match="int3"):
        FasterWhisperEngine(_context(model_dir(ENGLISH), compute_type="int3")).load()
