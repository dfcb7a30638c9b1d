"""Chains: models that stand in for each other, tried in order until one of them has begun to answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from core import errors
from core.model_entry import ModelRef

T = TypeVar("T")
log = logging.getLogger(__name__)
_CANNOT_NOW = (
    errors.Unavailable,
    errors.ConfigurationError,  # what a model that cannot be loaded raises
    errors.NotSupported,
    errors.QueueFull,
    errors.DeadlineExceeded,
    errors.UnprocessableAudio,  # it ended the process of this model twice
)


def cannot_now(error: errors.VoiceStackError) -> bool:
    """Return whether another model may do what failed with this error; nobody does while the service shuts down."""
    return isinstance(error, _CANNOT_NOW) and not isinstance(error, errors.Draining)


class Chain:
    """The models that may answer one request, the one that was asked for first; there is at least one.

    `model` is the one that answers, or is being tried.
    """

    def __init__(self, models: Sequence[ModelRef]) -> None:
        self._models = models
        self._settled = False
        self.model = models[0]

    def settle(self) -> ModelRef:
        """Return the model that answers: the first byte is about to be sent, and from now on nobody stands in."""
        self._settled = True
        return self.model

    async def run(self, attempt: Callable[[ModelRef], Awaitable[T]]) -> T:
        """Return what `attempt` returns for the first model that can; it must have undone all it did when it raises.

        A refusal of the model that was asked for is raised at once. That of a stand-in is not told, because its voices
        and options are its own: when nobody answers, the last error of a model that was not able to is raised.
        """
        failure: errors.VoiceStackError | None = None
        for model in self._models:
            self.model = model
            try:
                return await attempt(model)
            except errors.VoiceStackError as error:
                if self._settled or (failure is None and not cannot_now(error)):
                    raise
                log.warning("the model %s cannot answer now (%s)", model.id, error.code)
                if failure is None or cannot_now(error):
                    failure = error
        raise failure or errors.Unavailable("there is no model to answer")
