"""Chains: models that stand in for each other, tried in order until one of them has begun to answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from core import errors
from core.model_entry import ModelRef

T = TypeVar("T")
log = logging.getLogger(__name__)
_CANNOT_NOW = (
    errors.Unavailable,
    errors.InternalError,  # what the engine raised, or a model that cannot be loaded
    errors.NotSupported,
    errors.QueueFull,
    errors.DeadlineExceeded,
    errors.UnprocessableAudio,  # it ended the process of this model twice
)
_DOWN = (errors.Unavailable, errors.ConfigurationError)
_OF_THE_REQUEST = (errors.CrashedByRequest, errors.InsufficientMemory)
REST_SECONDS = 30.0
"""How long chains pass over a model that is down: not every request is to wait for a server that does not answer."""


def cannot_now(error: errors.VoiceStackError) -> bool:
    """Return whether another model may do what failed with this error; nobody does while the service shuts down."""
    return isinstance(error, _CANNOT_NOW) and not isinstance(error, errors.Draining)


class Resting:
    """The models of a service that were down a moment ago, each with the error that said so."""

    def __init__(self) -> None:
        self._errors: dict[str, tuple[float, dict[str, Any]]] = {}

    def note(self, model: ModelRef, error: errors.VoiceStackError | None) -> None:
        """Take note of how a model failed, None when it answered. What only this request could do is no reason."""
        self._errors.pop(model.id, None)
        if isinstance(error, _DOWN) and not isinstance(error, _OF_THE_REQUEST):
            self._errors[model.id] = time.monotonic() + REST_SECONDS, errors.dump(error)

    def why(self, model: ModelRef) -> errors.VoiceStackError | None:
        """Return the error of a model that is passed over; None for the others."""
        until, error = self._errors.get(model.id, (0.0, {}))
        return errors.restore(error) if time.monotonic() < until else None


class Chain:
    """The models that may answer one request, the one that was asked for first; there is at least one.

    `model` is the one that answers, or is being tried; an attempt that uses another one in its place sets it. The last
    is tried whether it is `resting` or not.
    """

    def __init__(self, models: Sequence[ModelRef], resting: Resting) -> None:
        self._models = models
        self._resting = resting
        self._settled = False
        self.model = models[0]

    def settle(self) -> ModelRef:
        """Return the model that answers: the first byte is about to be sent, and from now on nobody stands in."""
        self._settled = True
        return self.model

    async def run(self, attempt: Callable[[ModelRef], Awaitable[T]]) -> T:
        """Return what `attempt` returns for the first model that can; it must have undone all it did when it raises.

        A refusal of the model that was asked for is raised at once. That of a stand-in is not told, because its voices
        and options are its own: when nobody answers, the last error of a model that was not able to is raised. What
        failed outside `model`, the diarization beside it for one, would fail for the others too: it is raised at once.
        """
        failure: errors.VoiceStackError | None = None
        for model in self._models:
            if model is not self._models[-1] and (why := self._resting.why(model)):
                failure = why
                continue
            self.model = model
            try:
                answer = await attempt(model)
            except errors.VoiceStackError as error:
                of_it = error.model == self.model.id
                if of_it:
                    self._resting.note(self.model, error)
                unable = of_it and cannot_now(error)
                refused = not cannot_now(error) and (of_it or error.model is None)
                if self._settled or not (unable or (refused and failure is not None)):
                    raise
                log.warning("the model %s cannot answer now (%s)", self.model.id, error.code)
                if unable:
                    failure = error
            else:
                self._resting.note(self.model, None)
                return answer
        raise failure or errors.Unavailable("there is no model to answer")
