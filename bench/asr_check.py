"""Whether texts drift: word errors of the sides of `make bench-asr`, and what makes a run fail."""

from __future__ import annotations

from collections.abc import Sequence

from bench import words
from bench.parts import Part
from bench.results import EDITS_MARGIN
from bench.sides import OURS, Run, Runs
from bench.words import WordErrors
from utils.text import wer

OTHER_WORDS_SHARE = 0.1
"""Of what was heard of clips one by one, so much may be heard otherwise under load."""
MOST_WRONG_PERCENT = 20.0
"""Whisper base has some 14 % of the words of these recordings wrong; more than this, and a part of them is missing."""
NOT_COUNTED = "the words were not checked, because they cannot be counted: run `make bench-env`"


def count(runs: Sequence[Run]) -> WordErrors | None:
    """Return the word errors of the round in the middle; None where they cannot be counted."""
    said = [one.clip.text for one in runs[0].heard]
    if not any(said):
        return None
    found = [words.count(said, [one.text or "" for one in run.heard]) for run in runs]
    counted = sorted((one for one in found if one is not None), key=lambda one: one.edits)
    return counted[(len(counted) - 1) // 2] if counted else None


def check(part: Part, cell: str, runs: Runs) -> None:
    """Add to the failures of a part where ours gave no text."""
    if errors := _errors(runs[OURS]):
        part.failures.append(f"{cell}: {errors} errors")
    if empty := sorted({name for run in runs[OURS] for name in run.empty}):
        part.failures.append(f"{cell}: no text for {', '.join(empty)}")


def compared(part: Part, cell: str, runs: Runs, reference: str) -> tuple[WordErrors, WordErrors] | None:
    """Return the word errors of ours and of the reference, where that was measured; a failure where they are unknown.

    What the reference did not answer would count as its wrong words, and allow us as many.
    """
    if reference not in runs:
        return None
    if errors := _errors(runs[reference]):
        part.failures.append(f"{cell}: {errors} errors of {reference}, so the words cannot be compared")
        return None
    mine, theirs = count(runs[OURS]), count(runs[reference])
    if mine is None or theirs is None:
        part.failures.append(f"{cell}: {NOT_COUNTED}")
        return None
    return mine, theirs


def check_beside(part: Part, cell: str, runs: Runs, reference: str) -> None:
    """Add to the failures where texts of ours are missing, or worse than those of the reference."""
    check(part, cell, runs)
    if found := compared(part, cell, runs, reference):
        mine, theirs = found
        if mine.edits > theirs.edits + EDITS_MARGIN:
            part.failures.append(
                f"{cell}: {mine.edits} wrong words of {mine.words}, {reference} has {theirs.edits} "
                f"(+{EDITS_MARGIN} may be)"
            )


def check_points(part: Part, cell: str, runs: Runs, reference: str, *, limit: float) -> tuple[float, int, int] | None:
    """Compare word error rates: return the points of ours above the reference's, and the wrong words of both."""
    found = compared(part, cell, runs, reference)
    if found is None:
        return None
    mine, theirs = found
    delta = round(mine.percent - theirs.percent, 3)
    if delta > limit:
        part.failures.append(
            f"{cell}: the word error rate is {delta} points above that of {reference}; {limit} are allowed"
        )
    return delta, mine.edits, theirs.edits


def check_known(part: Part, cell: str, runs: Sequence[Run]) -> None:
    """Add to the failures where ours, which nothing is compared with, has understood too little of what was said."""
    check(part, cell, {OURS: list(runs)})
    found = count(runs)
    if found is None:
        part.failures.append(f"{cell}: {NOT_COUNTED}")
    elif found.percent > MOST_WRONG_PERCENT:
        part.failures.append(
            f"{cell}: {found.percent:.1f} % of the words are wrong, {MOST_WRONG_PERCENT:g} % at most may be"
        )


def check_same(part: Part, cell: str, runs: Sequence[Run], alone: Sequence[Run]) -> None:
    """Add to the failures where clips were heard otherwise than by our service with nothing else to do."""
    check(part, cell, {OURS: [*alone, *runs]})
    usual = {one.clip.path: wer.words(one.text or "") for one in alone[0].heard}
    if silent := sorted(path.name for path, heard in usual.items() if not heard):
        part.failures.append(f"{cell}: nothing was heard of {', '.join(silent)}")
    heard = [one for run in runs for one in run.heard]
    total = sum(len(usual[one.clip.path]) for one in heard)
    other = sum(wer.edits(usual[one.clip.path], wer.words(one.text or "")) for one in heard)
    if other > OTHER_WORDS_SHARE * total:
        part.failures.append(f"{cell}: {other} of {total} words are not those that were heard without the load")


def _errors(runs: Sequence[Run]) -> int:
    return sum(run.errors for run in runs)
