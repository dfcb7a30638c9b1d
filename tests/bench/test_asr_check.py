"""When `make bench-asr` fails because of the texts."""

from __future__ import annotations

import pytest

from bench import asr_check, words
from bench.asr_bench import SEQUENTIAL
from bench.parts import Part
from bench.sides import OURS
from bench.words import WordErrors
from tests.bench.asr_runs import SAID, runs

ONE_WRONG = SAID.replace("one", "x")


@pytest.mark.parametrize(
    ("heard", "failure"),
    [
        (SAID, None),
        ("x x x x five six seven eight nine ten", None),
        ("x x x x x six seven eight nine ten", "5 wrong words of 10, faster-whisper has 0"),
        ("", "no text for 0.wav"),
        (None, "3 errors"),
    ],
)
@pytest.mark.usefixtures("counted")
def test_worse_texts_fail_the_run(heard: str | None, failure: str | None) -> None:
    part = Part()
    asr_check.check_beside(part, "cell", {OURS: runs(1.0, heard), SEQUENTIAL: runs(1.0, SAID)}, SEQUENTIAL)
    assert bool(part.failures) == bool(failure)
    assert not failure or failure in part.failures[0]


@pytest.mark.usefixtures("counted")
def test_what_the_reference_did_not_answer_allows_us_nothing() -> None:
    part = Part()
    found = {OURS: runs(1.0, SAID, "bad"), SEQUENTIAL: runs(1.0, SAID, None)}
    asr_check.check_beside(part, "cell", found, SEQUENTIAL)
    assert part.failures == ["cell: 3 errors of faster-whisper, so the words cannot be compared"]
    assert asr_check.check_points(part, "cell", found, SEQUENTIAL, limit=0.5) is None


def test_words_that_cannot_be_counted_fail_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "python_of", lambda _: None)
    found = {OURS: runs(1.0, SAID), SEQUENTIAL: runs(1.0, SAID)}
    part = Part()
    asr_check.check_beside(part, "beside", found, SEQUENTIAL)
    asr_check.check_points(part, "points", found, SEQUENTIAL, limit=0.5)
    asr_check.check_known(part, "known", found[OURS])
    assert [failure.partition(":")[0] for failure in part.failures] == ["beside", "points", "known"]
    assert all("make bench-env" in failure for failure in part.failures)


def test_without_the_library_nothing_is_compared() -> None:
    part = Part()
    asr_check.check_beside(part, "cell", {OURS: runs(1.0, SAID)}, SEQUENTIAL)
    assert part.failures == []


@pytest.mark.parametrize(("edits", "fails"), [(20, False), (21, True)])
def test_what_nothing_is_compared_with_must_be_understood(
    edits: int, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "count", lambda *_: WordErrors(edits, 100))
    part = Part()
    asr_check.check_known(part, "cell", runs(1.0, SAID))
    assert bool(part.failures) == fails


@pytest.mark.parametrize(
    ("alone", "loaded", "failure"),
    [
        (SAID, SAID, None),
        (SAID, SAID.upper() + "!", None),
        (SAID, ONE_WRONG, None),
        (SAID, ONE_WRONG.replace("two", "x"), "6 of 30 words"),
        (SAID, "", "30 of 30 words"),
        ("", "", "nothing was heard of 0.wav"),
        ("", SAID, "nothing was heard of 0.wav"),
        (SAID, None, "3 errors"),
    ],
)
def test_texts_under_load_are_those_without(alone: str, loaded: str | None, failure: str | None) -> None:
    part = Part()
    # Of clips that were cut, nobody knows what is said in them.
    asr_check.check_same(part, "cell", runs(1.0, loaded, said=""), runs(1.0, alone, rounds=1, said=""))
    assert bool(part.failures) == bool(failure)
    assert not failure or failure in part.failures[0]
