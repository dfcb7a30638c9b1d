from __future__ import annotations

import pytest

from core.errors import InvalidRequest, VoiceNotFound
from tts.mixes import MAX_VOICES, is_mix, mixed
from tts.voice import Voice

KNOWN = {
    "anna": Voice(id="anna", name="anna", language="en-US", model="m"),
    "bea": Voice(id="bea", name="bea", language="es", model="m"),
    "me": Voice(id="me", name="me", type="cloned"),
}


def find(name: str) -> Voice:
    if name not in KNOWN:
        raise VoiceNotFound("no such voice", param="voice")
    return KNOWN[name]


@pytest.mark.parametrize(
    ("name", "weights", "language"),
    [
        ("anna(2)+bea(1)", {"anna": 2 / 3, "bea": 1 / 3}, "en-US"),
        (" anna ( 1 ) +bea", {"anna": 0.5, "bea": 0.5}, "en-US"),
        ("anna + bea", {"anna": 0.5, "bea": 0.5}, "en-US"),
        ("anna(0.5)+bea(1.5)", {"anna": 0.25, "bea": 0.75}, "es"),
        ("anna(3)", {"anna": 1.0}, "en-US"),
    ],
)
def test_weights_add_up_to_one_and_the_heaviest_speaks(name: str, weights: dict[str, float], language: str) -> None:
    assert is_mix(name)
    found = mixed(name, find)
    assert {share.id: share.weight for share in found.mix} == pytest.approx(weights)
    assert found.language == language
    assert found.model == "m"


@pytest.mark.parametrize(
    "name", ["anna+", "+", "()", "anna(0)", "anna(0)+bea(0)", "anna(-1)", "anna(x)+bea", "anna+me", "(2)+bea", "3)"]
)
def test_what_is_no_mix_is_an_error_of_the_voice(name: str) -> None:
    with pytest.raises((InvalidRequest, VoiceNotFound)) as caught:
        mixed(name, find)
    assert caught.value.param == "voice"


@pytest.mark.parametrize("weight", ["-1", "x", "1e9", "12345678", "9999999", "0.1234567", ""])
def test_a_bad_weight_is_told_with_its_voice(weight: str) -> None:
    assert is_mix(f"anna({weight})+bea(2)")
    with pytest.raises(InvalidRequest, match=r"weight of 'anna' must be a number from 0 to 999999") as caught:
        mixed(f"anna({weight})+bea(2)", find)
    assert caught.value.message.endswith(f"got {weight!r}")


@pytest.mark.parametrize("name", ["anna (copy)", "anna", "anna)", "(anna"])
def test_a_name_with_words_in_brackets_is_no_mix(name: str) -> None:
    assert not is_mix(name)


def test_long_names_are_no_work() -> None:
    for name in (f"a{' ' * 100_000}b+c", "anna(" + "(" * 100_000 + "+c", "+" * 5_000_000):
        with pytest.raises((InvalidRequest, VoiceNotFound)):
            mixed(name, find)
    with pytest.raises(InvalidRequest, match=str(MAX_VOICES)):
        mixed("+" * MAX_VOICES, find)


def test_a_mix_has_so_many_voices_only() -> None:
    mixed("+".join(["anna"] * MAX_VOICES), find)
    with pytest.raises(InvalidRequest, match=str(MAX_VOICES)):
        mixed("+".join(["anna"] * (MAX_VOICES + 1)), find)
