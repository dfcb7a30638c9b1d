from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.engines import EngineContext
from core.errors import ConfigurationError, InvalidRequest
from tts.engines import kokoro_phonemes
from tts.engines.kokoro import KokoroEngine
from tts.pace import Rate
from tts.pieces import Pieces
from tts.synthesis import Job, Speaker
from tts.voice import SpeechOptions, Voice
from tts.words import words_of
from tts.worker import TtsWorker

MODEL = "kokoro-82m-int8"
STYLE_BYTES = 510 * 256 * 4


def needs(code: str) -> pytest.MarkDecorator:
    """Skip where the extra of a language, by espeak-ng's name of it, is not installed."""
    extra = kokoro_phonemes.EXTRAS[code]
    return pytest.mark.skipif(bool(kokoro_phonemes.missing(code)), reason=f"the extra {extra} is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "voices").mkdir()
    for name in ("bm_george", "af_heart", "jf_alpha", "pf_dora", "xx_new"):
        (tmp_path / "voices" / f"{name}.bin").write_bytes(bytes(STYLE_BYTES))
    (tmp_path / "voices" / "af_broken.bin").write_bytes(b"half")
    (tmp_path / "voices" / "af_empty.bin").touch()
    (tmp_path / "voices" / "README.md").touch()
    return tmp_path


def test_voices_are_read_off_the_folder(folder: Path) -> None:
    found = {voice.id: (voice.language, voice.gender) for voice in KokoroEngine.list_voices(folder)}
    assert found == {
        "af_heart": ("en-US", "female"),
        "bm_george": ("en-GB", "male"),
        "jf_alpha": ("ja", "female"),
        "pf_dora": ("pt-BR", "female"),
        "xx_new": (None, None),
    }
    assert list(found) == sorted(found)
    assert list(KokoroEngine.list_voices(folder / "voices")) == []


def test_listing_voices_imports_nothing_heavy(folder: Path) -> None:
    script = (
        "import sys, pathlib; from tts.engines.kokoro import KokoroEngine as engine;"
        f"assert len(engine.list_voices(pathlib.Path({str(folder)!r}))) == 5;"
        "sys.exit(bool({'onnxruntime', 'kokoro_onnx', 'phonemizer', 'scipy'} & set(sys.modules)))"
    )
    src = Path(__file__).resolve().parents[3] / "src"
    assert subprocess.run([sys.executable, "-c", script], cwd=src, check=False).returncode == 0


@pytest.mark.parametrize("missing", ["model", "voices", "graph"])
def test_a_broken_folder_does_not_load(missing: str, folder: Path) -> None:
    model = {"model": None, "voices": folder / "voices", "graph": folder}[missing]
    with pytest.raises(ConfigurationError):
        KokoroEngine(EngineContext(model=model)).load()
    (folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ConfigurationError):
        KokoroEngine(EngineContext(model=model)).load()


@pytest.fixture(scope="module")
def kokoro(model_dir: Callable[[str], Path]) -> Iterator[KokoroEngine]:
    engine = KokoroEngine(EngineContext(model=model_dir(MODEL), threads=2))
    engine.load()
    yield engine
    engine.close()


def speak(engine: KokoroEngine, text: str, voice: Voice, language: str | None = None) -> np.ndarray:
    chunks = list(engine.synthesize(text, voice, SpeechOptions(language=language)))
    return np.concatenate([chunk.samples for chunk in chunks] or [np.zeros(0, np.float32)])


@pytest.mark.e2e
def test_the_language_decides_the_phonemes_and_the_voice_who_speaks(kokoro: KokoroEngine) -> None:
    voice = kokoro.voices()[0]
    english, french = (speak(kokoro, "Information nation.", voice, code) for code in ("en", "fr"))
    assert english.size
    assert french.size
    assert len(english) != len(french)


@pytest.mark.e2e
def test_any_voice_speaks_english(kokoro: KokoroEngine) -> None:
    japanese = next(voice for voice in kokoro.voices() if voice.language == "ja")
    assert len(speak(kokoro, "Hello there.", japanese, "en")) > 12_000


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore:open_text is deprecated")
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("es", "Hola, mundo."),
        ("fr", "Bonjour le monde."),
        ("hi", "नमस्ते दुनिया"),
        ("it", "Ciao mondo."),
        ("ja", "こんにちは。"),
        ("pt", "Olá, mundo."),
        pytest.param("ja", "漢字です。", marks=needs("ja")),
        pytest.param("zh", "你好", marks=needs("cmn")),
    ],
)
def test_every_language_is_spoken(kokoro: KokoroEngine, language: str, text: str) -> None:
    made = speak(kokoro, text, kokoro.voices()[0], language)
    assert 0.3 < len(made) / kokoro.sample_rate < 4
    assert np.abs(made).max() > 0.05


@pytest.mark.e2e
def test_a_sentence_ends_with_a_pause_and_a_cut_does_not(kokoro: KokoroEngine) -> None:
    voice = kokoro.voices()[0]
    sentence, word = speak(kokoro, "Hello.", voice), speak(kokoro, "Hello", voice)
    assert not sentence[-4_800:].any()
    assert word[-2_400:].any()


@pytest.mark.e2e
def test_the_phonemes_of_a_text_are_found_once(kokoro: KokoroEngine) -> None:
    cache = kokoro._phonemizer.phonemes
    before = cache.cache_info()
    for language in ("en", "fr", "en"):
        speak(kokoro, "Once only.", kokoro.voices()[0], language)
    after = cache.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (2, 1)


@pytest.mark.e2e
def test_pieces_of_a_sentence_join_without_a_gap_or_a_click(kokoro: KokoroEngine) -> None:
    rate = Rate()
    rate.add(0.5, 1.0)
    text = "When the sun went down, the children walked home along the narrow river path and talked about the summer."
    job = Job(
        pieces=Pieces(text, longest=180, first_chars=kokoro.first_chars),
        voice=kokoro.voices()[0],
        options=SpeechOptions(language="en", timestamps=True),
        sample_rate=kokoro.sample_rate,
        tempo=1.0,
    )
    events = list(Speaker(kokoro, job, rate=rate, turn=nullcontext, waiting=lambda: 0).events())
    assert events[0].data["text"] == "When the sun went down,"
    assert len(events) > 1
    parts = [np.frombuffer(event.body, "<i2") / 32768 for event in events]
    for before, after in pairwise(parts):
        assert abs(after[0] - before[-1]) < 0.003
    comma = parts[0][::-1]
    assert 0.09 < int(np.flatnonzero(np.abs(comma) > 0.003)[0]) / kokoro.sample_rate < 0.13
    words = [word for event in events for word in event.data["words"]]
    assert [word.word for word in words] == words_of(text)
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[-1] <= sum(map(len, parts)) / kokoro.sample_rate


@pytest.mark.parametrize("text", ["漢字です", "ひらがなと、人々。", "\N{IDEOGRAPHIC NUMBER ZERO}", "𠮷"])
@pytest.mark.parametrize(("voice", "language"), [("af_heart", "ja"), ("jf_alpha", None)])
def test_kanji_are_refused_and_not_read_out_as_chinese_letters(
    text: str, voice: str, language: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ("fugashi",))
    engine = KokoroEngine(EngineContext(model=folder))
    known = {each.id: each for each in engine.voices()}
    with pytest.raises(InvalidRequest, match="kana") as caught:
        engine.check(text, known[voice], SpeechOptions(language=language))
    assert caught.value.param == "input"


def test_chinese_is_refused_where_its_tones_would_be_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ("misaki",))
    engine = KokoroEngine(EngineContext(model=folder))
    with pytest.raises(InvalidRequest, match="kokoro-zh") as caught:
        engine.check("你好", engine.voices()[0], SpeechOptions(language="zh"))
    assert caught.value.param == "input"


@pytest.mark.parametrize(
    ("text", "language"), [("こんにちは、カタカナー。", "ja"), ("ni hao", "zh"), ("漢字 is hard.", "en")]
)
def test_kana_and_the_characters_of_other_languages_are_not(text: str, language: str, folder: Path) -> None:
    engine = KokoroEngine(EngineContext(model=folder))
    engine.check(text, engine.voices()[0], SpeechOptions(language=language))


@pytest.mark.skipif(not kokoro_phonemes.missing("ja"), reason="the extra kokoro-ja reads kanji")
@pytest.mark.e2e
def test_kanji_in_a_later_piece_are_refused_before_the_first_is_spoken(model_dir: Callable[[str], Path]) -> None:
    worker = TtsWorker({"engine": "kokoro", "model": str(model_dir(MODEL)), "threads": 2})
    worker.load()
    voice = {"id": "jf_alpha", "name": "jf_alpha", "language": "ja"}
    text = "これはひらがなのぶんです。" * 40
    try:
        with pytest.raises(InvalidRequest, match="kana"):
            worker.call("synthesize", {"text": f"{text}漢字です。", "voice": voice, "options": {"language": "ja"}})
        stream = worker.call("synthesize", {"text": text, "voice": voice, "options": {"language": "ja"}})
        assert next(stream).name == "start"
    finally:
        worker.close()


@pytest.mark.e2e
def test_closing_leaves_no_files_behind(
    model_dir: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys, os, pathlib, voice_stack; from core.engines import EngineContext;"
        "from tts.engines.kokoro import KokoroEngine;"
        "engine = KokoroEngine(EngineContext(model=pathlib.Path(sys.argv[1]), threads=1));"
        "engine.load(); engine.close(); os._exit(0)"
    )
    command = [sys.executable, "-c", script, str(model_dir(MODEL))]
    src = Path(__file__).resolve().parents[3] / "src"
    subprocess.run(command, cwd=src, check=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
