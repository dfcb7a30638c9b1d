from __future__ import annotations

import pytest

from tts import language

KOKORO = ("en", "es", "fr", "hi", "it", "ja", "pt", "zh")
ALL = (*KOKORO, "ru", "uk", "ko", "ar", "fa", "th", "el", "he", "de")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("こんにちは、世界。", "ja"),
        ("東京は日本の首都です。", "ja"),
        ("今天天气很好。我们去公园散步吧。", "zh"),
        ("안녕하세요, 반갑습니다", "ko"),
        ("नमस्ते दुनिया", "hi"),
        ("Привет, мир! Как дела сегодня?", "ru"),
        ("Привіт, як твої справи сьогодні? Її звуть Олена.", "uk"),
        ("مرحبا بالعالم، كيف حالك اليوم", "ar"),
        ("Καλημέρα σε όλους", "el"),
        ("שלום עולם", "he"),
        ("สวัสดีครับ", "th"),
        ("我用 iPhone 看视频", "zh"),
        ("Bonjour tout le monde, comment allez-vous aujourd'hui ?", "fr"),
        ("Olá a todos, hoje vamos falar sobre o tempo em Lisboa.", "pt"),
        ("Buenos días, ¿dónde está la biblioteca más cercana?", "es"),
        ("Buongiorno a tutti, oggi parliamo della cucina italiana.", "it"),
        ("Good morning everybody, today we talk about the weather.", "en"),
    ],
)
def test_long_or_foreign_text_is_recognised(text: str, expected: str) -> None:
    assert language.detect(text, ALL, "de") == expected


@pytest.mark.parametrize("text", ["Hola", "Paris", "OK", "3 p.m.", "12:30", "", "😀", "?!", "Las Vegas"])
def test_short_latin_text_and_no_text_fall_back(text: str) -> None:
    assert language.detect(text, KOKORO, "en") == "en"
    assert language.detect(text, KOKORO, "pt") == "pt"


@pytest.mark.parametrize(
    "text",
    [
        "Hello from Voice Stack!",
        "Marie Curie won two Nobel Prizes, one of them with Pierre.",
        "I love pasta alla carbonara and a good tiramisu.",
        "Dr. Smith arrived at 3 p.m. in San Francisco.",
    ],
)
def test_english_with_foreign_names_stays_english(text: str) -> None:
    assert language.detect(text, KOKORO, "en") == "en"


def test_only_candidates_are_considered() -> None:
    spanish = "Buenos días, ¿dónde está la biblioteca más cercana?"
    assert language.detect(spanish, ("en", "pt"), "en") in {"en", "pt"}
    assert language.detect(spanish, ("en",), "en") == "en"


def test_a_script_nobody_writes_names_its_language_anyway() -> None:
    assert language.detect("สวัสดีครับ", KOKORO, "en") == "th"


def test_no_candidates_means_any() -> None:
    assert language.detect("Good morning everybody, today we talk.", (), "de") == "de"
    assert language.detect("สวัสดีครับ", (), "en") == "th"


def choose(text: str, voice: str | None, **changes: object) -> str | None:
    settings = {"requested": None, "candidates": KOKORO, "automatic": True, **changes}
    return language.choose(text, voice=voice, **settings)  # type: ignore[arg-type]


def test_the_request_decides_first() -> None:
    assert choose("Hello there", "ja", requested="fr") == "fr"
    assert choose("こんにちは", "en-US", requested="pt-BR", automatic=False) == "pt-BR"


def test_the_voice_decides_when_detection_is_off() -> None:
    assert choose("Hello there, my good old friend.", "ja", automatic=False) == "ja"


def test_the_voice_decides_for_short_text_and_keeps_its_region() -> None:
    assert choose("Olá", "pt-BR") == "pt-BR"
    assert choose("Good morning everybody, today we talk.", "en-GB") == "en-GB"


def test_a_voice_of_another_script_speaks_english() -> None:
    assert choose("Hello", "ja") == "en"
    assert choose("こんにちは", "ja") == "ja"
    assert choose("12:30", "ja") == "ja"


def test_the_text_decides_against_the_voice() -> None:
    assert choose("Bonjour tout le monde, comment allez-vous aujourd'hui ?", "en-US") == "fr"
    assert choose("こんにちは", "en-US") == "ja"


def test_a_voice_without_a_language() -> None:
    assert choose("Hi", None) == "en"
    assert choose("Hi", None, candidates=("de",)) == "de"


def test_long_text_is_judged_by_its_beginning() -> None:
    assert language.detect("Guten Morgen, heute sprechen wir über das Wetter. " * 50_000, ("de", "en"), "en") == "de"
