import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.text import normalize
from utils.text.normalize import for_speech, has_speech


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        (
            "This is **bold**, *it*, __bold__, _it_, ***both*** and ~~gone~~.",
            "This is bold, it, bold, it, both and gone.",
        ),
        ("Run `pip install x` now.", "Run pip install x now."),
        ('See [the docs](https://a.b/x_(y) "title") and ![a cat](cat.png).', "See the docs and a cat."),
        ("[![build](b.svg)](https://ci)", "build"),
        ("At <https://example.com/a_b_c>.", "At https://example.com/a_b_c."),
        ("## A heading ##\nText", "A heading\n\nText"),
        ("- one\n* two\n+ [x] three", "one\n\ntwo\n\nthree"),
        ("1. one\n2. two", "1. one\n\n2. two"),
        ("> quoted\n> text", "quoted\ntext"),
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b\n\n1, 2"),
        ("Before\n\n* * *\n\nAfter", "Before\n\nAfter"),
        ('```python title="x"\nx = a*b*c  # note\n```\nDone **now**', "x = a*b*c # note\n\nDone now"),
        ("这是**重点**内容", "这是重点内容"),
        ("**Note: cut by the client", "Note: cut by the client"),
        ("by the client** here", "by the client here"),
    ],
)
def test_markdown_is_taken_out_and_its_words_stay(written: str, spoken: str) -> None:
    assert for_speech(written) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "2 * 3 * 4 is 24, 2*3*4 too, and 2**8 is 256.",
        "snake_case_name and file_name.txt",
        "a 5* hotel, price* not included",
        "f**k",
        "-5 degrees, #5 and #hashtag",
        "a < b > c, x[1] (y)",
        "It's 3:30 p.m. & 50% off at $3.14, see http://a.b/c_d_e?f=g_h.",
        "<speak>read as text</speak>",
        "${jndi:ldap://x} %s%n {0} '; DROP TABLE",
        "می‌خواهم و क्‍ष",
        "① ❶ ½ © ™ €",
    ],
)
def test_what_is_not_markdown_stays(text: str) -> None:
    assert for_speech(text) == text


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Done 🎉🎉! Hi👋there ❤️.", "Done! Hi there."),
        ("A 👨‍👩‍👧‍👦 family, 👍🏽 and 🇩🇪 flags", "A family, and flags"),
        ("1️⃣ first", "1 first"),
        ("👍🏽 🎉", ""),
        ("a\x00b\x1b[0m c\u202ed\u200be\ufeff\U000e0041f\ue000\ud800g", "ab[0m cdefg"),
        ("a\t b\u00a0\u2003c\r\nd\u2028e", "a b c\nd\ne"),
        ("\n\n a \n \n\n\nb\n\n", "a\n\nb"),
        ("e\u0301", "\u00e9"),
        ("***", ""),
    ],
)
def test_what_has_no_sound_goes(written: str, spoken: str) -> None:
    assert for_speech(written) == spoken


@pytest.mark.parametrize(
    ("text", "expected"), [("…!?", False), ("\u200d", False), ("***", False), ("5", True), ("は", True)]
)
def test_only_letters_and_digits_are_speech(text: str, expected: bool) -> None:
    assert has_speech(text) is expected


TEXTS = st.text(st.characters(codec=None)) | st.text(alphabet="ab1 *_~`[]()<>#|-+>!\n\\.:/")


@given(TEXTS)
def test_the_result_is_clean_and_composed(text: str) -> None:
    spoken = for_speech(text)
    assert spoken == spoken.strip()
    assert unicodedata.is_normalized("NFC", spoken)
    assert all(unicodedata.category(char) not in {"Cc", "Cs", "Co"} for char in spoken.replace("\n", ""))
    assert "\n\n\n" not in spoken
    assert "  " not in spoken


@given(st.text(alphabet="ab1 *_~`#|-+>!\n.:é你", max_size=60))
def test_no_letter_or_digit_is_lost(text: str) -> None:
    assert [char for char in for_speech(text) if char.isalnum()] == [char for char in text if char.isalnum()]


@given(st.text())
def test_composed_and_decomposed_text_sound_the_same(text: str) -> None:
    assert for_speech(unicodedata.normalize("NFD", text)) == for_speech(unicodedata.normalize("NFC", text))


# fmt: off
HOSTILE = [
    "a.", "a@", "9", "*", "*a", "a*", "* a ", "**a", "_", "_a", "`", "`a", "~~", "[", "]", "[a](", "[](", "[](x", "![",
    "[a", "[]((x)", "[](x)[](", "<", "<https://", "#", "# ", "# #", ">", "> ", "|", "| ", "|a", "-", "- ", "+ ", "1. ",
    "```\n", "```", "\n", " \n", " ", "\t", "\\*", "(", ")", "(a)", "&lt;", "<a>", "http://a.b/", "👋", "👋 ", "\u200d",
    "\u202e", "a\u0301\u0327", "\u0301\u0327", "\x00",
]
# fmt: on


@pytest.mark.timeout(60)  # a quadratic step needs minutes for these, a linear one well below a second
@pytest.mark.parametrize(
    "unit",
    HOSTILE,
)
def test_a_hostile_text_takes_linear_time(unit: str) -> None:
    assert len(for_speech(unit * (200_000 // len(unit)))) <= 300_000


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("See https://www.example.com/a/b?c=d#e, please.", "See example.com, please."),
        ("(http://user:secret@Example.org:8080/x)", "(example.org)"),
        ("HTTPS://EXAMPLE.COM", "example.com"),
        ("http://[nothing", ""),
        ("no https:// here, nor shttp://x", "no https:// here, nor shttp://x"),
    ],
)
def test_web_addresses_are_their_hosts(text: str, short: str) -> None:
    assert normalize.with_short_urls(text) == short


def test_as_written_keeps_what_can_be_read() -> None:
    assert normalize.as_written("**Hello**\u200b \x00 _w\u0065\u0301_  😀\nnext") == "**Hello** _w\u00e9_ 😀\nnext"
