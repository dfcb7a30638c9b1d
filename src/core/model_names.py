"""What the models of one task are called: the default, chains, and which of them can be used here."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from core import errors, models_check
from core.catalogue import Catalogue
from core.engines import Engine
from core.model_entry import ModelRef, Task
from core.registry import EngineRegistry
from core.remote_options import RemoteOptions

log = logging.getLogger(__name__)


class ModelNames:
    """The models of one task by what requests call them; `default` names the one for requests that name none.

    With `fallback` the default model answers for unknown names too. Raises ConfigurationError for a model of
    models.toml whose engine there is not, or that has wrong options.
    """

    def __init__(
        self, catalogue: Catalogue, *, task: Task, default: str, fallback: bool, registry: EngineRegistry[Any]
    ) -> None:
        models_check.check(catalogue, task, registry)
        self.catalogue = catalogue
        self._task = task
        self._default = default
        self._fallback = fallback
        self._registry = registry
        self._broken: set[str] = set()

    def default(self) -> ModelRef:
        """Return the default model; ModelNotFound when the setting names none. Of a chain it is the first usable."""
        found = list(self._known(self.members(self._default)))
        if not found:
            return self.catalogue.resolve(self._default, self._task)
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
        members = self.members(name or self._default)
        if not members and self._means_default(name):
            members = self.members(self._default)
        if not members:
            return [self.usable(self._find(name))]
        found: dict[str, ModelRef] = {}
        failure: errors.VoiceStackError | None = None
        for member in members:
            try:
                model = self.usable(self.member(member))
            except (errors.ModelNotFound, errors.NotSupported) as error:
                failure = failure or error
                log.debug("%s of the chain %s is passed over: %s", member, name or self._default, error.message)
            else:
                found.setdefault(model.id, model)
        if not found and failure is not None:
            raise failure
        return list(found.values())

    def members(self, name: str) -> tuple[str, ...]:
        """Return what the models of a chain are called; none where a name is that of no chain with models of this task.

        Of no task is a chain whose names nobody knows.
        """
        names = self.catalogue.chain(name, self._task)
        return names if any(True for _ in self._known(names)) else ()

    def member(self, name: str) -> ModelRef:
        """Return a model of a chain, where the client of a server needs no table: its engine's name, or ENGINE/MODEL.

        Raises ModelNotFound.
        """
        try:
            return self.catalogue.resolve(name, self._task)
        except errors.ModelNotFound:
            ref = ModelRef(id=name, task=self._task, engine=name.partition("/")[0], translates=True, weightless=True)
            with contextlib.suppress(errors.NotSupported):
                if ref.engine in self._registry.names() and self.is_remote(ref):
                    return ref
            raise

    def _known(self, names: Iterable[str]) -> Iterator[ModelRef]:
        for name in names:
            with contextlib.suppress(errors.ModelNotFound):
                yield self.member(name)

    def warn_of_models_file(self) -> None:
        """Tell the log of the names in chains that are no models, and of models whose weights are not there."""
        models_check.warn_of_paths(self.catalogue, self._task)
        for chain, names in self.catalogue.chains(self._task).items():
            members = self.members(chain)
            if not members:
                log.warning("no name of the chain %s (%s) is a model for %s", chain, ", ".join(names), self._task)
            for name in members:
                if self.catalogue.chain(name, self._task):
                    log.warning("%r of the chain %s is a chain itself, and is passed over", name, chain)
                elif not any(True for _ in self._known([name])):
                    log.warning("%r of the chain %s is no model of this service, and is passed over", name, chain)

    def usable(self, model: ModelRef) -> ModelRef:
        """Return a model that can be used as it is.

        Raises ModelNotFound for one that is not pulled, NotSupported where the library of its engine is not installed.
        """
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

    def named(self, name: str) -> ModelRef:
        """Return the model with an id or alias, installed or not; names that stand for others mean nothing here.

        Those are the names of chains, those for the default and, with `fallback`, all others. Raises ModelNotFound.
        """
        try:
            return self._named(name, default=None)
        except errors.ModelNotFound as error:
            if members := self.members(name):
                models = ", ".join(members)
                raise errors.ModelNotFound(
                    f"{errors.shortened(name)!r} is a chain, not a model; its models are: {models}", param="model"
                ) from error
            raise

    def _named(self, name: str, *, default: ModelRef | None) -> ModelRef:
        try:
            return self.catalogue.lookup(name, self._task, default=default)
        except errors.ModelNotFound:
            if found := next((ref for ref in self._unlisted() if ref.id == name), None):
                return found
            raise

    def _unlisted(self) -> Iterator[ModelRef]:
        """Yield the models that the operator named and no catalogue need know: weights at a path, clients."""
        with contextlib.suppress(errors.ModelNotFound):
            yield self.default()
        for chain in self.catalogue.chains(self._task):
            yield from self._known(self.catalogue.chain(chain, self._task))

    def _find(self, name: str | None) -> ModelRef:
        if not name or self._means_default(name):
            return self.default()
        default: ModelRef | None = None
        with contextlib.suppress(errors.ModelNotFound):
            default = self.default()
        return self._named(name, default=default)

    def _means_default(self, name: str | None) -> bool:
        if not name or name == self._default or self.catalogue.means_default(name, self._task):
            return True
        return self._fallback and not self.knows(name)

    def knows(self, name: str) -> bool:
        """Return whether a model of this task has this name, installed or not; those for "the default" do not count."""
        if name == self._default or self.members(name):
            return True
        with contextlib.suppress(errors.ModelNotFound):
            self.named(name)
            return True
        return False

    def installed(self) -> list[ModelRef]:
        """Return the models that can be used, the default first: weights and the engine's library are installed."""
        found = self.catalogue.entries(self._task)
        with contextlib.suppress(errors.ModelNotFound):
            found = [self.default(), *found]
        return list({model.id: model for model in found if model.installed and self._works(model)}.values())

    def engine(self, model: ModelRef) -> type[Engine]:
        """Return the class of a model's engine. Raises NotSupported for one that cannot be imported."""
        try:
            found: type[Engine] = self._registry.get(model.engine)
        except errors.ConfigurationError as error:
            # What clients are told: the whole may hold paths.
            told = f"the engine {model.engine} of {model.id} cannot be used; the service's log says why"
            if model.engine not in self._broken:
                self._broken.add(model.engine)
                log.error("%s", error.message)  # noqa: TRY400 - not a bug of ours
            raise errors.NotSupported(told, param="model") from error
        return found

    def _missing(self, model: ModelRef) -> tuple[str, ...]:
        """Return the libraries that the model's engine needs and that are not installed; raises what `engine` does."""
        return self.engine(model).missing()

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
