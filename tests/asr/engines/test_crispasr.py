"""The crispasr engine for speech recognition: what the library is told, and what becomes of its segments.

Without weights, on a stand-in for the library; tests/contract has the real one with a real Whisper.
"""

from __future__ import annotations

import inspect
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asr.engines import crispasr as module
from asr.engines.crispasr import CrispasrAsrEngine
from asr.transcript import LanguageGuess, TranscribeOptions
from asr.worker import AsrWorker
from core.crispasr import verbs, whisper_languages
from core.engines import EngineContext
from core.errors import (
    ConfigurationError,
    InternalError,
    InvalidRequest,
    ModelBroken,
    UnsupportedParameter,
    UnsupportedTask,
)
from tests import crispasr_library
from tests.crispasr_library import EMPTY, REAL, UNLISTED, VERBS, Library, Segment, Word, spoken, texts
from utils.audio.pcm import Audio

pytestmark = pytest.mark.adapter
NEEDS_CRISPASR = pytest.mark.skipif(REAL is None, reason="crispasr is not installed")
RATE = 16_000
TWO_SECONDS = Audio(np.full(2 * RATE, 0.1, np.float32), RATE)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    found = Library()
    monkeypatch.setitem(sys.modules, "crispasr", found)
    return found


def opened(folder: Path, *files: str, model: str | None = None, **options: Any) -> CrispasrAsrEngine:
    for name in files or ("model.gguf",):
        (folder / name).write_bytes(EMPTY)
    path = folder / model if model else folder
    engine = CrispasrAsrEngine(EngineContext(model=path, model_id="mine", threads=3, options=options))
    engine.load()
    return engine


def decode(engine: CrispasrAsrEngine, audio: Audio = TWO_SECONDS, **options: Any) -> Any:
    return engine.decode([engine.prepare(audio, TranscribeOptions(**options))])[0]


def test_the_file_of_a_folder_is_opened_with_its_companion(library: Library, tmp_path: Path) -> None:
    opened(tmp_path, "a.gguf", "codec.gguf", codec="codec.gguf", backend="parakeet")
    assert library.told[:2] == [
        ("open", str(tmp_path / "a.gguf"), 3, "parakeet", False),
        ("set_codec_path", str(tmp_path / "codec.gguf")),
    ]


def test_a_file_is_a_model_too(library: Library, tmp_path: Path) -> None:
    opened(tmp_path, "a.gguf", "b.gguf", "tokenizer.bin", model="b.gguf", codec="tokenizer.bin", threads=5)
    assert library.told[0] == ("open", str(tmp_path / "b.gguf"), 5, None, False)
    assert library.told[1] == ("set_codec_path", str(tmp_path / "tokenizer.bin"))


@pytest.mark.parametrize(
    ("files", "options", "error"),
    [
        (("notes.txt",), {}, ModelBroken),
        (("a.gguf", "b.gguf"), {}, ConfigurationError),
        (("a.gguf",), {"codec": "none.gguf"}, ConfigurationError),
        (("a.gguf",), {"backend": "nonsense"}, ConfigurationError),
    ],
)
def test_what_cannot_be_opened_says_why(
    library: Library, tmp_path: Path, files: tuple[str, ...], options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        opened(tmp_path, *files, **options)
    assert str(tmp_path) not in str(caught.value)
    assert library.calls("open") == []


@pytest.mark.parametrize(
    ("name", "error"), [("open", ModelBroken), ("set_codec_path", ModelBroken), ("transcribe", ConfigurationError)]
)
def test_errors_of_the_library_are_ours_when_it_loads(
    library: Library, tmp_path: Path, name: str, error: type[Exception]
) -> None:
    library.fails = {name}
    with pytest.raises(error, match="crispasr cannot"):
        opened(tmp_path, "a.gguf", "c.bin", codec="c.bin")


@pytest.mark.parametrize("content", [EMPTY[:-1], b"lmgg" + bytes(60)])
def test_the_library_gets_no_file_that_is_cut_short(library: Library, tmp_path: Path, content: bytes) -> None:
    name = "model.gguf" if content.startswith(b"GGUF") else "ggml-model.bin"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelBroken, match=f"{name} is damaged"):
        CrispasrAsrEngine(EngineContext(model=tmp_path)).load()
    assert library.calls("open") == []


def test_an_error_of_the_library_ends_one_window(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    library.fails = {"transcribe"}
    with pytest.raises(InternalError):
        decode(engine)
    library.fails = set()
    assert decode(engine).segments == ()


def test_segments_get_the_blank_back_that_the_library_takes(library: Library, tmp_path: Path) -> None:
    library.found = [Segment("Hello there.", 0.0, 1.0), Segment("  ", 1.0, 1.2), Segment("And more.", 1.2, 9.0)]
    found = decode(opened(tmp_path))
    assert texts(found.segments) == [" Hello there.", " And more."]
    assert [(one.start, one.end) for one in found.segments] == [(0.0, 1.0), (1.2, 2.0)]


@pytest.mark.parametrize("text", ["你好。", "こんにちは", "สวัสดี"])
def test_scripts_without_blanks_get_none(library: Library, tmp_path: Path, text: str) -> None:
    library.found = [Segment(text, 0.0, 1.0)]
    assert texts(decode(opened(tmp_path)).segments) == [text]


def test_words_are_the_text_with_the_times_of_the_library(library: Library, tmp_path: Path) -> None:
    library.found = [spoken("Ask", "not", "what")]
    engine = opened(tmp_path)
    assert decode(engine).segments[0].words == ()
    words = decode(engine, word_timestamps=True).segments[0].words
    assert [(word.word, word.start, word.end) for word in words] == [
        (" Ask", 0.0, 0.5),
        (" not", 0.5, 1.0),
        (" what", 1.0, 1.5),
    ]
    assert all(word.probability == pytest.approx(0.9) for word in words)


@pytest.mark.parametrize(
    "words", [[], [Word("Ask", None, None), Word("not", None, None)], [Word("other", 0.0, 1.0)], [Word("Ask", 0, 1)]]
)
def test_words_without_times_or_of_another_text_share_the_time(
    library: Library, tmp_path: Path, words: list[Word]
) -> None:
    library.found = [Segment("Ask not", 0.0, 2.0, words)]
    found = decode(opened(tmp_path), word_timestamps=True).segments[0]
    assert "".join(word.word for word in found.words) == found.text == " Ask not"
    assert [word.probability for word in found.words] == [0.0, 0.0]


def test_short_windows_are_padded_and_their_times_are_not(library: Library, tmp_path: Path) -> None:
    library.found = [Segment("Yes.", 0.0, 1.1)]
    found = decode(opened(tmp_path), Audio(np.full(RATE // 2, 0.1, np.float32), RATE))
    assert library.calls("transcribe")[-1][1] == round(1.1 * RATE)
    assert found.segments[0].end == 0.5


def test_nobody_says_which_language_it_is(library: Library, tmp_path: Path) -> None:
    library.found = [spoken("Hallo")]
    engine = opened(tmp_path)
    found = decode(engine)
    assert (found.language, found.language_probability) == (None, 0.0)
    assert library.calls("transcribe")[-1][2] is None


@pytest.mark.parametrize("backend", ["canary", "voxtral"])
def test_an_assumed_language_is_not_told_as_one_that_was_heard(library: Library, tmp_path: Path, backend: str) -> None:
    library.backend, library.found = backend, [spoken("Hallo")]
    engine = opened(tmp_path)
    found = decode(engine)
    assert (found.language, found.language_probability) == (None, 0.0)
    assert library.calls("transcribe")[-1][2] == "en"
    found = decode(engine, language="de")
    assert (found.language, found.language_probability) == ("de", 1.0)
    assert library.calls("transcribe")[-1][2] == "de"


@pytest.mark.parametrize("options", [{"language": "de"}, {"languages": ("de",)}])
def test_a_language_that_the_architecture_would_ignore_is_refused(
    library: Library, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedParameter, match="LANGUAGE") as caught:
        opened(tmp_path).check(TranscribeOptions(**options))
    assert caught.value.param == next(iter(options))


def test_a_language_at_which_the_library_fails_is_the_clients(library: Library, tmp_path: Path) -> None:
    """Which languages such a model knows is told by nothing."""
    library.backend = "canary"
    engine = opened(tmp_path)
    library.fails = {"transcribe"}
    with pytest.raises(UnsupportedParameter) as caught:
        decode(engine, language="ja")
    assert caught.value.param == "language"
    with pytest.raises(InternalError):
        decode(engine)


def test_a_model_of_one_language_refuses_others(library: Library, tmp_path: Path) -> None:
    library.backend = "wav2vec2"
    engine = opened(tmp_path, language="de")
    assert decode(engine).language == "de"
    with pytest.raises(UnsupportedParameter) as caught:
        decode(engine, language="en")
    assert caught.value.param == "language"


def whisper(
    library: Library,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    codes: tuple[str, ...],
    name: str = "ggml-base.bin",
) -> CrispasrAsrEngine:
    library.backend = "whisper"
    monkeypatch.setattr(module, "whisper_languages", lambda *_: codes)
    return opened(folder, name, model=name)


def test_a_whisper_hears_the_language_first(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = whisper(library, tmp_path, monkeypatch, ("en", "de"))
    library.found = [spoken("Hallo")]
    found = decode(engine)
    assert (found.language, found.language_probability) == ("de", 0.75)
    assert library.calls("transcribe")[-1][2] == "de"
    assert engine.detect_language(TWO_SECONDS) == LanguageGuess("de", 0.75)
    assert ("set_whisper_decode_extras", True) in library.told


def test_translation_is_told_every_time(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = whisper(library, tmp_path, monkeypatch, ("en", "de"))
    decode(engine, task="translate", language="de")
    decode(engine, language="de")
    assert library.calls("set_translate") == [("set_translate", True), ("set_translate", False)]
    library.backend = "canary"
    (tmp_path / "other").mkdir()
    canary = opened(tmp_path / "other")
    decode(canary, task="translate", language="de")
    decode(canary)
    assert library.calls("set_target_language")[-2:] == [("set_target_language", "en"), ("set_target_language", "")]
    with pytest.raises(InvalidRequest) as caught:
        canary.check(TranscribeOptions(task="translate"))
    assert caught.value.param == "language"


def test_who_says_it_translates_and_does_not_is_not_asked(library: Library, tmp_path: Path) -> None:
    """Voxtral's verbs have it, by the library's command line; a session of it transcribes."""
    library.backend = "voxtral"
    with pytest.raises(UnsupportedTask):
        opened(tmp_path).check(TranscribeOptions(task="translate", language="de"))


@pytest.mark.parametrize(
    "options",
    [
        *({"prompt": "x"}, {"hotwords": ("x",)}, {"temperature": (0.7,)}, {"languages": ("en", "de")}),
        *({"language": "xx"}, {"beam_size": 9}, {"best_of": 9}),
    ],
)
def test_what_cannot_be_told_is_refused(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    engine = whisper(library, tmp_path, monkeypatch, ("en", "de"))
    with pytest.raises(UnsupportedParameter) as caught:
        engine.check(TranscribeOptions(**options))
    assert caught.value.param == next(iter(options))


def test_an_english_whisper_and_a_distilled_one_do_not_translate(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedTask):
        whisper(library, tmp_path, monkeypatch, ("en",)).check(TranscribeOptions(task="translate"))
    turbo = whisper(library, tmp_path, monkeypatch, ("en", "de"), "ggml-large-v3-turbo.bin")
    with pytest.raises(UnsupportedTask):
        turbo.check(TranscribeOptions(task="translate"))


def test_beams_and_hotwords_are_told_to_who_has_them(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path, beam_size=2)
    decode(engine, beam_size=4, hotwords=("Berlin, Mitte", "Köln"))
    decode(engine)
    assert library.calls("set_beam_size") == [("set_beam_size", 4), ("set_beam_size", 2)]
    assert library.calls("set_hotwords") == [("set_hotwords", "Berlin  Mitte,Köln"), ("set_hotwords", "")]
    library.backend = "wav2vec2"
    (tmp_path / "other").mkdir()
    with pytest.raises(UnsupportedParameter):
        decode(opened(tmp_path / "other"), beam_size=4)


def test_a_beam_size_without_effect_is_no_option(library: Library, tmp_path: Path) -> None:
    library.backend = "wav2vec2"
    with pytest.raises(ConfigurationError, match="does not search"):
        opened(tmp_path, beam_size=5)


def test_more_beams_than_whisper_follows_are_no_option(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.backend = "whisper"
    monkeypatch.setattr(module, "whisper_languages", lambda *_: ("en", "de"))
    with pytest.raises(ConfigurationError, match="at most 8"):
        opened(tmp_path, beam_size=9)


def test_temperatures_and_attempts_are_told_to_who_heeds_them(library: Library, tmp_path: Path) -> None:
    engine = opened(tmp_path)
    decode(engine, temperature=(0.5,), best_of=3)
    decode(engine, best_of=3)
    assert library.calls("set_temperature", "set_best_of") == [
        *(("set_temperature", 0.5), ("set_best_of", 3)),
        *(("set_temperature", 0.0), ("set_best_of", 1)),
    ]
    with pytest.raises(UnsupportedParameter):
        engine.check(TranscribeOptions(temperature=(0.5, 0.7)))


def test_attempts_are_told_to_whisper(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = whisper(library, tmp_path, monkeypatch, ("en",))
    decode(engine, best_of=3)
    decode(engine)
    assert library.calls("set_best_of") == [("set_best_of", 3), ("set_best_of", 1)]
    assert library.calls("set_temperature") == []


def test_the_worker_tells_what_the_library_says(library: Library, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(EMPTY)
    worker = AsrWorker({"engine": "crispasr", "model_id": "mine", "model": str(tmp_path)})
    facts = worker.load()
    worker.close()
    assert facts["library_features"] == sorted(VERBS["parakeet"].split())
    assert facts["streams"] is False


@pytest.mark.parametrize(("backend", "runs_as"), [("vibevoice-tts", "vibevoice"), ("parakeet", "parakeet")])
def test_an_architecture_without_verbs_has_those_of_its_family(library: Library, backend: str, runs_as: str) -> None:
    assert verbs(library, backend) == set(VERBS[runs_as].split())


@NEEDS_CRISPASR
def test_the_real_library_says_what_its_architectures_can_do() -> None:
    known = REAL.backend_capabilities()
    assert {name: " ".join(known[name]) for name in VERBS} == VERBS
    assert set(REAL.Session.available_backends()) - set(known) == set(UNLISTED)
    assert all(verbs(REAL, name) for name in REAL.Session.available_backends())
    assert REAL.LidMethod.WHISPER == Library().LidMethod.WHISPER


@NEEDS_CRISPASR
def test_the_real_library_takes_what_the_stand_in_takes() -> None:
    """Setters, which the stand-in has no functions for, are held against the real ones when they are called."""
    for name, function in inspect.getmembers(crispasr_library.Session, inspect.isfunction):
        if name == "__getattr__":
            continue
        parameters = list(inspect.signature(function).parameters.values())
        given = [each for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        named = {each.name: None for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
        inspect.signature(getattr(REAL.Session, name)).bind(*given, **named)


@pytest.mark.parametrize(
    ("tokens", "codes"),
    [
        (51864, ("en",)),
        (51865, tuple(f"l{number}" for number in range(99))),
        (51866, tuple(f"l{number}" for number in range(100))),
    ],
)
def test_the_languages_of_a_whisper_are_told_by_its_number_of_tokens(
    tmp_path: Path, tokens: int, codes: tuple[str, ...]
) -> None:
    (tmp_path / "ggml.bin").write_bytes(struct.pack("<Ii", 0x67676D6C, tokens))
    native = SimpleNamespace(whisper_lang_max_id=lambda: 99, whisper_lang_str=lambda number: f"l{number}".encode())
    assert whisper_languages(tmp_path / "ggml.bin", SimpleNamespace(_lib=native)) == codes
