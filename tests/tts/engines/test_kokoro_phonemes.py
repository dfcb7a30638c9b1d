"""Which of its readers Kokoro's text goes to; the library's tokenizer and misaki are stubs unless installed."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import InvalidRequest
from tts.engines import kokoro_phonemes
from tts.engines.kokoro_phonemes import Phonemizer


class Tokenizer:
    """Says what it was asked to read, and in which language; knows no digits."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def phonemize(self, text: str, code: str) -> str:
        self.asked.append((text, code))
        return f"(en){text.lower()}(fr)"

    def known(self, phonemes: str) -> str:
        return "".join(each for each in phonemes if not each.isdigit())


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer()


def test_espeak_reads_most_languages_and_its_marks_are_not_spoken(tokenizer: Tokenizer) -> None:
    phonemizer = Phonemizer(tokenizer, None)
    assert phonemizer.phonemes("Ciao \n mondo", "it") == "ciao mondo"
    assert phonemizer.phonemes("Ciao \n mondo", "it") == "ciao mondo"
    assert tokenizer.asked == [("Ciao mondo", "it")]


@pytest.mark.parametrize(("code", "extra"), [("ja", "kokoro-ja"), ("cmn", "kokoro-zh")])
def test_without_misaki_espeak_reads_and_the_log_names_the_extra_once(
    code: str,
    extra: str,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ("misaki",))
    phonemizer = Phonemizer(tokenizer, None)
    with caplog.at_level(logging.WARNING):
        assert phonemizer.phonemes("A", code) == "a"
        assert phonemizer.phonemes("B", code) == "b"
    assert [extra in record.message for record in caplog.records] == [True]


def test_misaki_reads_where_it_is_installed_and_unknown_symbols_are_dropped(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ())
    monkeypatch.setattr(Phonemizer, "_japanese", lambda _: lambda text: f"{text}1  x2")
    assert Phonemizer(tokenizer, None).phonemes("kana", "ja") == "kana x"
    assert tokenizer.asked == []


def test_what_misaki_cannot_read_espeak_reads(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> str:
        raise ValueError

    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ())
    monkeypatch.setattr(Phonemizer, "_chinese", lambda _: fail)
    assert Phonemizer(tokenizer, None).phonemes("odd", "cmn") == "odd"


def test_latin_words_in_chinese_are_read_as_english(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    jieba = SimpleNamespace(setLogLevel=lambda _: None, dt=SimpleNamespace(tmp_dir=None))
    misaki = SimpleNamespace(ZHG2P=lambda: lambda text: (f"<{text}>", None))
    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ())
    for name, module in (("jieba", jieba), ("misaki", SimpleNamespace(zh=misaki)), ("misaki.zh", misaki)):
        monkeypatch.setitem(sys.modules, name, module)
    assert Phonemizer(tokenizer, tmp_path / "own").phonemes("我用AI", "cmn") == "<我用> ai <>"
    assert tokenizer.asked == [("AI", "en-us")]
    assert jieba.dt.tmp_dir == str(tmp_path / "own")


def test_ideographs_need_the_extra_of_their_language(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ("misaki",))
    with pytest.raises(InvalidRequest, match=r"in kana only.*voice-stack\[kokoro-ja\]"):
        kokoro_phonemes.check("漢字", "ja")
    with pytest.raises(InvalidRequest, match=r"Chinese.*voice-stack\[kokoro-zh\]") as caught:
        kokoro_phonemes.check("汉字", "cmn")
    assert caught.value.param == "input"
    for text, code in (("かな", "ja"), ("pinyin 1", "cmn"), ("漢字", "en-us")):
        kokoro_phonemes.check(text, code)
    monkeypatch.setattr(kokoro_phonemes, "missing", lambda _: ())
    kokoro_phonemes.check("漢字", "ja")
    kokoro_phonemes.check("汉字", "cmn")


@pytest.mark.skipif(bool(kokoro_phonemes.missing("cmn")), reason="the extra kokoro-zh is not installed")
def test_chinese_has_its_tones(tokenizer: Tokenizer, tmp_path: Any) -> None:
    made = Phonemizer(tokenizer, tmp_path).phonemes("你好世界。", "cmn")
    assert set("↓↘") & set(made)
    assert made.endswith(".")


@pytest.mark.filterwarnings("ignore:open_text is deprecated")
@pytest.mark.skipif(bool(kokoro_phonemes.missing("ja")), reason="the extra kokoro-ja is not installed")
def test_kanji_are_read(tokenizer: Tokenizer) -> None:
    made = Phonemizer(tokenizer, None).phonemes("日本語", "ja")
    assert made.startswith("ɲ")
    assert made.isascii() is False
