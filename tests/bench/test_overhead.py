"""What is said beside the figures of `make bench-overhead`."""

from __future__ import annotations

import pytest

from bench.bare import Answer
from bench.machine import describe
from bench.overhead import notes


@pytest.mark.parametrize(("side", "who"), [("asr_bare_wav", "service and engine"), ("faster_whisper_wav", "faster-")])
@pytest.mark.parametrize(
    ("other", "told"),
    [("No matter. Try again.", False), ("no matter, try again", False), ("No matter. Try.", True)],
)
def test_other_words_are_told_and_other_punctuation_is_not(
    side: str, who: str, other: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUICK", raising=False)
    idle = describe().model_copy(update={"load": 0.0})
    answers = {"asr_service_wav": [Answer(1.0, "No matter. Try again.")], side: [Answer(1.0, other)]}
    assert [note.startswith(who) for note in notes(idle, answers)] == ([True] if told else [])
