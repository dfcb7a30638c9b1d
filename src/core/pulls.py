"""Pulls that a service makes for its clients: each in a thread of its own, one for all who ask for the same model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Thread

from core import errors

log = logging.getLogger(__name__)
Work = Callable[["Pull"], object]
"""Installs a model and tells the pull how it gets on, as the Progress that it is."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a pull: what it is, bytes that are there, and of how many, None when not known."""

    what: str
    done: int
    total: int | None


class Pull:
    """A pull as those see it who wait for it: the step it is at, what was worth a line, and how it ended.

    Its thread writes, the event loop reads.
    """

    def __init__(self) -> None:
        self.step: Step | None = None
        self.notes: list[str] = []
        self.ended: Future[None] = Future()
        """Has the error of a pull that failed, always a VoiceStackError. Who stops waiting for it ends nothing."""
        # A future that runs cannot be cancelled.
        self.ended.set_running_or_notify_cancel()

    def begin(self, what: str, total: int | None) -> None:
        """Start a new step."""
        self.step = Step(what, 0, total)

    def advance(self, done: int) -> None:
        """Say how many bytes of the step are there; never more than there are, for a client may keep a file twice."""
        if self.step is not None:
            self.step = replace(self.step, done=min(done, self.step.total) if self.step.total else done)

    def note(self, text: str) -> None:
        """Say something worth a line."""
        self.notes.append(text)


class Pulls:
    """The pulls of a service by model.

    A pull goes on when nobody waits for it any more: what it brings is there for everybody, and who asks again is told
    how far it has come. The end of the process ends it; the next one takes up what was fetched.
    """

    def __init__(self) -> None:
        self._latest: dict[tuple[str, bool], Pull] = {}

    def start(self, model: str, work: Work, *, accepted: bool) -> Pull:
        """Return the pull of a model that is under way, else begin it.

        One whose licence was not `accepted` is another: it fails where the licence has to be.
        """
        pull = self._latest.get((model, accepted))
        if pull is None or pull.ended.done():
            pull = self._latest[model, accepted] = Pull()
            # Neither the loop's threads, which others need meanwhile, nor one that the end of the process waits for.
            Thread(target=_run, args=(model, work, pull), name=f"pull-{model}", daemon=True).start()
        return pull


def _run(model: str, work: Work, pull: Pull) -> None:
    log.info("pulling %s", model)
    try:
        work(pull)
    except errors.VoiceStackError as error:
        log.warning("%s was not pulled: %s", model, error.message)
        pull.ended.set_exception(error)
    except BaseException:
        log.exception("%s was not pulled", model)
        unexpected = f"{model} was not pulled because of an unexpected error; the log has it"
        pull.ended.set_exception(errors.InternalError(unexpected))
    else:
        log.info("pulled %s", model)
        pull.ended.set_result(None)
