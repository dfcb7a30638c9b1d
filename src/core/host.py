"""The models of one service: names resolved, workers found or made, the default loaded at start, health told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from core import errors
from core.catalogue import Catalogue
from core.chains import Resting
from core.engines import Engine
from core.metrics import Metrics
from core.model_entry import ModelRef, Task
from core.pool import MIB, WorkerPool
from core.process import Call, WorkerSpec
from core.registry import EngineRegistry
from core.remote_options import RemoteOptions
from core.settings import ServiceSettings
from core.workers import CallOptions, Worker

log = logging.getLogger(__name__)


class ModelHost:
    """Serves the models of one task. `spec` turns a resolved model into what its worker runs.

    `preloaded` are the names of models that `start` loads beside the default one. Raises ConfigurationError for a model
    of models.toml whose engine there is not.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        task: Task,
        default: str,
        settings: ServiceSettings,
        registry: EngineRegistry[Any],
        spec: Callable[[ModelRef], WorkerSpec],
        metrics: Metrics,
        preloaded: Sequence[str] = (),
    ) -> None:
        catalogue.check_engines(task, registry.names())
        self.catalogue = catalogue
        self.resting = Resting()
        self._task = task
        self._default = default
        self._settings = settings
        self._registry = registry
        self._spec = spec
        self._metrics = metrics
        self._preloaded = preloaded
        self._pool = WorkerPool(settings.model_slots, memory=settings.model_memory_mb * MIB)
        self._sizes: dict[Path, int] = {}
        metrics.watch(self._pool.status)
        self._draining = False
        self._startup: asyncio.Task[None] | None = None
        self._others: asyncio.Task[None] | None = None
        self._failure: errors.VoiceStackError | None = None
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
            if engine not in self._registry.names() or not _is_remote(self._registry.get(engine)):
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
            if self._settings.model_fallback:
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

    def worker(self, model: ModelRef) -> Worker:
        """Return the worker of a model, loaded or not."""
        return self._pool.worker(self._spec_of(model))

    def _spec_of(self, model: ModelRef) -> WorkerSpec:
        """Return what the worker of a model runs; with the size of its weights where memory is counted."""
        spec = self._spec(model)
        if _is_remote(self.engine(model)):
            spec = replace(spec, takes_slot=False)
        return replace(spec, size=self._size(model)) if self._settings.model_memory_mb else spec

    def _size(self, model: ModelRef) -> int:
        if model.size is not None or model.path is None:
            return model.size or 0
        if model.path not in self._sizes:
            files = [model.path, *model.path.rglob("*")]
            self._sizes[model.path] = sum(file.stat().st_size for file in files if file.is_file())
        return self._sizes[model.path]

    async def load(self, model: ModelRef) -> Worker:
        """Load a model and return its worker."""
        return await self._pool.load(self._spec_of(model))

    async def unload(self, model: ModelRef) -> None:
        """Unload a model. Raises NotFound when it is not loaded, Conflict while it is in use."""
        await self._pool.unload(self._spec_of(model))

    def in_use(self, model: ModelRef) -> bool:
        """Return whether calls of a model run or wait."""
        return self.worker(model).busy

    def details(self) -> list[dict[str, Any]]:
        """Return every process of every model asked for so far, loaded or not: what GET /api/ps tells of it."""
        return [
            {
                "id": name,
                "state": status.state,
                "pid": status.pid,
                "rss_bytes": status.rss_bytes,
                "device": status.facts.get("device"),
            }
            for name, status in self._pool.by_model()
        ]

    @asynccontextmanager
    async def call(
        self,
        model: ModelRef,
        method: str,
        params: Mapping[str, Any],
        **how: Unpack[CallOptions],
    ) -> AsyncIterator[Call]:
        """Call the worker of a model; see Worker.call for how, and for what is raised."""
        if self._draining:
            raise errors.Draining("the service is shutting down")
        asked = time.monotonic()
        async with self.worker(model).call(method, params, **how) as call:
            self._metrics.observe_wait(time.monotonic() - asked, model=model.id)
            yield call

    def drain(self) -> None:
        """Take no more calls and turn away those that wait; those that run go on."""
        self._draining = True
        self._pool.drain()

    def start(self, *, preload: bool) -> None:
        """Begin to load the default model and then those to preload, when asked to.

        Failures of the default model show in `ready` and `health`, those of the others in the log.
        """
        if preload:
            self._startup = asyncio.create_task(self._preload())
        if preload and self._preloaded:
            self._others = asyncio.create_task(self._preload_others(self._startup))

    async def _preload(self) -> None:
        """Load the default model, or of a chain the first that can be; the error of the first where none can be."""
        failures: list[errors.VoiceStackError] = []
        try:
            for model in self.chain(None):
                try:
                    await self._patiently(model)
                except errors.VoiceStackError as error:
                    self.resting.note(model, error)
                    failures.append(error)
                    log.error("the default model cannot be loaded: %s", error.message)  # noqa: TRY400 - not a bug
                else:
                    return
        except (errors.ModelNotFound, errors.NotSupported) as error:
            failures.append(error)
            log.error("the default model cannot be loaded: %s", error.message)  # noqa: TRY400 - not a bug
        self._failure = failures[0]

    async def _patiently(self, model: ModelRef) -> None:
        """Load a model, however long that takes; requests have a limit, the start has none."""
        while True:
            with contextlib.suppress(errors.ModelLoading):
                await self.load(model)
                return

    async def _preload_others(self, startup: asyncio.Task[None] | None) -> None:
        if startup is not None:
            await asyncio.wait([startup])
        for name in self._preloaded:
            try:
                if (model := self.resolve(name)).id != self.default().id:
                    await self._preload_other(model)
            except errors.VoiceStackError as error:
                log.error("the model %s cannot be loaded at start: %s", name, error.message)  # noqa: TRY400 - not a bug

    async def _preload_other(self, model: ModelRef) -> None:
        while True:
            if not self._pool.has_room(self._spec_of(model)):
                log.warning("no room for %s at start: MODEL_SLOTS and MODEL_MEMORY_MB say how much there is", model.id)
                return
            with contextlib.suppress(errors.ModelLoading):
                await self.load(model)
                return

    async def loaded(self) -> None:
        """Wait for the default model; raise why it could not be loaded."""
        if self._startup is not None:
            await self._startup
        if self._failure is not None:
            raise self._failure

    @property
    def ready(self) -> bool:
        """Whether the default model answers, or is unloaded for idleness with its files in place; one of a chain."""
        return not self._draining and any(self._answers(model) for model in self._defaults())

    def _answers(self, model: ModelRef) -> bool:
        worker = self.worker(model)
        return worker.state == "ready" or (worker.state == "unloaded" and (bool(worker.facts) or self._startup is None))

    def _defaults(self) -> list[ModelRef]:
        """Return the models that may answer who names none; empty where they cannot be used."""
        with contextlib.suppress(errors.ModelNotFound, errors.NotSupported):
            return self.chain(None)
        return []

    def workers(self) -> list[dict[str, Any]]:
        """Return what /health tells of every worker: its pid, RSS, state and calls."""
        return [{k: v for k, v in asdict(status).items() if k != "facts"} for status in self._pool.status()]

    def health(self) -> dict[str, Any]:
        """Return engine, model, device, version, and every worker with its pid, RSS and state."""
        facts: Mapping[str, Any] = {}
        model_id: str | None = None
        reason = self._failure.message if self._failure else None
        try:
            model = next((each for each in self._defaults() if self._answers(each)), None) or self.default()
            model_id = model.id
            worker = self.worker(model)
            facts, reason = worker.facts, worker.error or reason
        except errors.ModelNotFound as error:
            reason = error.message
        return {
            "engine": facts.get("engine"),
            "model": model_id,
            "device": facts.get("device"),
            "version": self._settings.version,
            "reason": None if self.ready else reason,
            "workers": self.workers(),
        }

    async def close(self) -> None:
        """End all workers."""
        for task in (self._startup, self._others):
            if task is not None:
                task.cancel()
        await self._pool.close()


def _is_remote(engine: type[Engine]) -> bool:
    """Return whether an engine is the client of a server: it needs no files, and computes nothing here."""
    return issubclass(engine.Options, RemoteOptions)
