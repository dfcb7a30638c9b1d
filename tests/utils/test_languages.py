import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import languages


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        (" de ", "de"),
        ("en-US", "en"),
        ("en_us", "en"),
        ("pt-BR", "pt"),
        ("zh-Hant", "zh"),
        ("zh-yue", "zh"),
        ("cmn-Hans-CN", "zh"),
        ("eng", "en"),
        ("ger", "de"),
        ("deu", "de"),
        ("fre", "fr"),
        ("fra", "fr"),
        ("english", "en"),
        ("Haitian Creole", "ht"),
        ("mandarin", "zh"),
        ("castilian", "es"),
        ("iw", "he"),
        ("in", "id"),
        ("ji", "yi"),
        ("jv", "jw"),
        ("nb", "no"),
        ("nb-NO", "no"),
        ("nn", "nn"),
        ("fil", "tl"),
        ("cmn", "zh"),
        ("mo", "ro"),
        ("yue", "yue"),
        ("haw", "haw"),
    ],
)
def test_a_language_is_known_by_all_its_names(value: str, code: str) -> None:
    assert languages.parse(value) == code


@pytest.mark.parametrize("value", [None, "", "  ", "auto", "AUTO", "und", "null", "und-Latn"])
def test_nothing_and_its_synonyms_mean_detect(value: str | None) -> None:
    assert languages.parse(value) is None


@pytest.mark.parametrize("value", ["xx", "klingon", "en-", "en--us", "en us", "e", "english-US", "en\x00", "x-en", "é"])
def test_an_unknown_language_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="unknown language"):
        languages.parse(value)


def test_a_refusal_does_not_echo_long_or_unprintable_input() -> None:
    with pytest.raises(ValueError, match="unknown language") as caught:
        languages.parse("\x1b\n" + "x" * 5000)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_whispers_hundred_languages_are_there_under_openais_names() -> None:
    assert len(languages.NAMES) == 100
    assert languages.NAMES["en"] == "english"
    assert languages.NAMES["ht"] == "haitian creole"
    assert languages.NAMES["my"] == "myanmar"
    assert languages.NAMES["yue"] == "cantonese"


def test_the_table_agrees_with_whispers_tokenizer() -> None:
    tokenizer = pytest.importorskip("faster_whisper.tokenizer")
    assert set(tokenizer._LANGUAGE_CODES) == set(languages.NAMES)


@pytest.mark.parametrize("code", languages.NAMES)
def test_codes_and_names_lead_back_to_the_code(code: str) -> None:
    assert languages.parse(code) == code
    assert languages.parse(languages.name(code)) == code
    assert languages.parse(languages.name(code).title()) == code


def test_a_code_without_a_name_is_its_own_name() -> None:
    assert languages.name("tlh") == "tlh"


def test_chinese_stands_in_for_cantonese() -> None:
    assert languages.nearest("yue", {"zh", "yue"}) == "yue"
    assert languages.nearest("yue", {"zh", "en"}) == "zh"
    assert languages.nearest("yue", {"en"}) is None
    assert languages.nearest("de", {"en"}) is None


@given(st.text())
def test_any_text_is_a_language_or_a_value_error(text: str) -> None:
    try:
        code = languages.parse(text)
    except ValueError:
        return
    assert code is None or code in languages.NAMES
