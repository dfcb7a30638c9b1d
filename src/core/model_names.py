"""What the models of one task are called: the default, chains, and which of them can be used here."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from core import errors
from core.catalogue import Catalogue
from core.engines import Engine
from core.model_entry import ModelRef, Task
from core.registry import EngineRegistry
from core.remote_options import RemoteOptions

log = logging.getLogger(__name__)


class ModelNames:
    """The models of one task by what requests call them; `default` names the one for requests that name none.

    With `fallback` the default model answers for unknown names too. Raises ConfigurationError for a model of
    models.toml whose engine there is not.
    """

    def __init__(
        self, catalogue: Catalogue, *, task: Task, default: str, fallback: bool, registry: EngineRegistry[Any]
    ) -> None:
        catalogue.check_engines(task, registry.names())
        self.catalogue = catalogue
        self._task = task
        self._default = default
        self._fallback = fallback
        self._registry = registry
        self._warn_of_chains()

    def default(self) -> ModelRef:
        """Return the default model; ModelNotFound when the setting names none. Of a chain it is the first usable."""
        members = self.catalogue.chain(self._default, self._task)
        if not members:
            return self.catalogue.resolve(self._default, self._task)
        found = [self._member(name) for name in members]
        return next((model for model in found if model.installed and self._works(model)), found[0])

    def resolve(self, name: str | None) -> ModelRef:
        """Return the model a request names, which must be installed; empty or None means the default.

        Raises ModelNotFound (for a model that is known but not pulled the message says how to pull it), NotSupported
        when the library of its engine is not installed. Of a chain it is the first that is usable.
        """
        return self.chain(name)[0]

    def chain(self, name: str | None) -> list[ModelRef]:
        """Return the models that may answer a request in turn, when those before them are unavailable.

        There is one unless the name is that of a chain, of which those are left out that are not installed, or whose
        library is not. Raises what `resolve` does, for the first of a chain when none of it is usable.
        """
        members = self.catalogue.chain(name or self._default, self._task)
        if not members:
            return [self._usable(self._find(name))]
        found: dict[str, ModelRef] = {}
        failure: errors.VoiceStackError | None = None
        for member in members:
            try:
                model = self._usable(self._member(member))
            except (errors.ModelNotFound, errors.NotSupported) as error:
                failure = failure or error
                log.debug("%s of the chain %s is passed over: %s", member, name or self._default, error.message)
            else:
                found.setdefault(model.id, model)
        if not found and failure is not None:
            raise failure
        return list(found.values())

    def _member(self, name: str) -> ModelRef:
        """Return a model of a chain, where the client of a server needs no table: its engine's name, or ENGINE/MODEL.

        Raises ModelNotFound.
        """
        try:
            return self.catalogue.resolve(name, self._task)
        except errors.ModelNotFound:
            engine = name.partition("/")[0]
            if engine not in self._registry.names() or not _asks_a_server(self._registry.get(engine)):
                raise
            return ModelRef(id=name, task=self._task, engine=engine, translates=True, weightless=True)

    def _warn_of_chains(self) -> None:
        for chain, members in self.catalogue.chains(self._task).items():
            for name in members:
                try:
                    self._member(name)
                except errors.ModelNotFound:
                    log.warning("%r of the chain %s is no model of this service, and is passed over", name, chain)

    def _usable(self, model: ModelRef) -> ModelRef:
        self.catalogue.require(model)
        if missing := self._missing(model):
            raise errors.NotSupported(
                f"the engine {model.engine} of {model.id} needs {', '.join(missing)}, which is not installed: "
                f"{self.engine(model).install_line()}",
                param="model",
            )
        if model.stands_in_for:
            log.info("%s is not installed; %s answers in its place", model.stands_in_for, model.id)
        return model

    def _find(self, name: str | None) -> ModelRef:
        if not name or name == self._default:
            return self.default()
        try:
            return self.catalogue.lookup(name, self._task, default=self._default)
        except errors.ModelNotFound:
            if self._fallback:
                return self.default()
            raise

    def knows(self, name: str) -> bool:
        """Return whether a model of this task has this name, installed or not; those for "the default" do not count."""
        if name == self._default or self.catalogue.chain(name, self._task):
            return True
        with contextlib.suppress(errors.ModelNotFound):
            if name == self.default().id:
                return True
        with contextlib.suppress(errors.ModelNotFound):
            self.catalogue.lookup(name, self._task)
            return True
        return False

    def installed(self) -> list[ModelRef]:
        """Return the models that can be used, the default first: weights and the engine's library are installed."""
        found = self.catalogue.entries(self._task)
        with contextlib.suppress(errors.ModelNotFound):
            found = [self.default(), *found]
        return list({model.id: model for model in found if model.installed and self._works(model)}.values())

    def engine(self, model: ModelRef) -> type[Engine]:
        """Return the class of a model's engine."""
        found: type[Engine] = self._registry.get(model.engine)
        return found

    def _missing(self, model: ModelRef) -> tuple[str, ...]:
        """Return the libraries that the model's engine needs and that are not installed.

        Raises NotSupported for an outside engine that cannot be imported.
        """
        try:
            return self.engine(model).missing()
        except errors.ConfigurationError as error:
            raise errors.NotSupported(error.message, param="model") from error

    def _works(self, model: ModelRef) -> bool:
        try:
            return not self._missing(model)
        except errors.NotSupported:
            return False

    def is_remote(self, model: ModelRef) -> bool:
        """Return whether a model's engine is the client of a server: it needs no files, and computes nothing here."""
        return _asks_a_server(self.engine(model))


def _asks_a_server(engine: type[Engine]) -> bool:
    return issubclass(engine.Options, RemoteOptions)
