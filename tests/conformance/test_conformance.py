"""The suite of `make conformance`, a test per section of the contract and per SDK, and the page made of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.conformance import report, suite
from tests.conformance.rows import Result
from tests.conformance.services import Services
from tests.conformance.target import Target

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
PARTS = suite.parts()


@pytest.fixture(scope="module")
def results() -> Iterator[Callable[[str], list[Result]]]:
    """A function from a part of the suite to its results; a part runs once."""
    services = Services()
    target = Target(services.url("asr"), services.url("tts"), engine="fake", services=services)
    known: dict[str, list[Result]] = {}

    def of(part: str) -> list[Result]:
        if part not in known:
            known[part] = PARTS[part](target)
        return known[part]

    yield of
    target.close()


def leave_out_what_is_not_installed(found: list[Result]) -> None:
    missing = suite.not_installed(found)
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing[0].detail)
    if missing:
        pytest.skip(missing[0].detail)


@pytest.mark.parametrize("part", PARTS)
def test_every_row_holds(results: Callable[[str], list[Result]], part: str) -> None:
    found = results(part)
    failed = [each for each in found if each.outcome == "failed"]
    assert failed == [], report.summary(found)
    leave_out_what_is_not_installed(found)
    assert any(each.outcome == "passed" for each in found)


@pytest.mark.timeout(900)  # it may be the first, and run all the rows
def test_the_page_is_what_the_rows_found(results: Callable[[str], list[Result]]) -> None:
    found = [each for part in PARTS for each in results(part)]
    leave_out_what_is_not_installed(found)
    assert report.PAGE.read_text(encoding="utf-8") == report.page(found), "run: make conformance"
