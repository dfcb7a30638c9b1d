"""The pulls of a service, with work of the tests' own in place of a download."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from core import errors
from core.pulls import Pull, Pulls, Step

WAIT = 60.0


class Gate:
    """Work that is done when the test says so, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.opened = threading.Event()

    def __call__(self, pull: Pull) -> None:
        self.begun += 1
        pull.note("waiting")
        assert self.opened.wait(WAIT)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def fails(error: Exception) -> Callable[[Pull], None]:
    def work(_: Pull) -> None:
        raise error

    return work


def test_who_asks_for_the_same_model_joins(gate: Gate) -> None:
    pulls = Pulls()
    first = pulls.start("m", gate, accepted=False)
    assert pulls.start("m", gate, accepted=False) is first
    other = pulls.start("n", gate, accepted=False)
    assert other is not first
    gate.opened.set()
    assert (first.ended.result(WAIT), other.ended.result(WAIT)) == (None, None)
    assert gate.begun == 2
    again = pulls.start("m", gate, accepted=False)
    assert again is not first
    again.ended.result(WAIT)


def test_who_accepts_the_licence_does_not_fail_with_who_does_not(gate: Gate) -> None:
    pulls = Pulls()
    refused = pulls.start("m", fails(errors.LicenceNotAccepted("read it")), accepted=False)
    accepted = pulls.start("m", gate, accepted=True)
    gate.opened.set()
    assert accepted.ended.result(WAIT) is None
    with pytest.raises(errors.LicenceNotAccepted):
        refused.ended.result(WAIT)


def test_what_nobody_expected_is_an_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        error = Pulls().start("m", fails(KeyError("/a/path")), accepted=False).ended.exception(WAIT)
    assert isinstance(error, errors.InternalError)
    assert "path" not in error.message


def test_progress_never_passes_the_end() -> None:
    pull = Pull()
    pull.advance(1)
    assert pull.step is None
    pull.begin("a", 10)
    pull.advance(25)
    assert pull.step == Step("a", 10, 10)
    pull.begin("b", None)
    pull.advance(25)
    assert pull.step == Step("b", 25, None)


@pytest.mark.anyio
async def test_who_stops_waiting_ends_nothing(gate: Gate) -> None:
    pull = Pulls().start("m", gate, accepted=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.wrap_future(pull.ended)
    assert not pull.ended.cancelled()
    gate.opened.set()
    async with asyncio.timeout(WAIT):
        await asyncio.wrap_future(pull.ended)
