"""The models of one service: names resolved, workers found or made, the default loaded at start, health told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Unpack

from core import errors
from core.catalogue import Catalogue
from core.engines import Engine
from core.metrics import Metrics
from core.model_entry import ModelRef, Task
from core.pool import WorkerPool
from core.process import Call, WorkerSpec
from core.registry import EngineRegistry
from core.settings import ServiceSettings
from core.workers import CallOptions, Worker

log = logging.getLogger(__name__)


class ModelHost:
    """Serves the models of one task. `spec` turns a resolved model into what its worker runs."""

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
    ) -> None:
        self.catalogue = catalogue
        self._task = task
        self._default = default
        self._settings = settings
        self._registry = registry
        self._spec = spec
        self._metrics = metrics
        self._pool = WorkerPool(settings.model_slots)
        metrics.watch(self._pool.status)
        self._draining = False
        self._startup: asyncio.Task[None] | None = None
        self._failure: errors.VoiceStackError | None = None

    def default(self) -> ModelRef:
        """Return the default model; ModelNotFound when the setting names none."""
        return self.catalogue.resolve(self._default, self._task)

    def resolve(self, name: str | None) -> ModelRef:
        """Return the model a request names, which must be installed; empty or None means the default.

        Raises ModelNotFound (for a model that is known but not pulled the message says how to pull it), NotSupported
        when the library of its engine is not installed.
        """
        model = self.catalogue.require(self._find(name))
        if missing := self._missing(model):
            raise errors.NotSupported(
                f"the engine of {model.id} needs {', '.join(missing)}, which is not installed", param="model"
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
        if name == self._default:
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
        return list({model.id: model for model in found if model.installed and not self._missing(model)}.values())

    def engine(self, model: ModelRef) -> type[Engine]:
        """Return the class of a model's engine."""
        found: type[Engine] = self._registry.get(model.engine)
        return found

    def _missing(self, model: ModelRef) -> tuple[str, ...]:
        """Return the libraries that the model's engine needs and that are not installed."""
        return self.engine(model).missing()

    def worker(self, model: ModelRef) -> Worker:
        """Return the worker of a model, loaded or not."""
        return self._pool.worker(self._spec(model))

    async def load(self, model: ModelRef) -> Worker:
        """Load a model and return its worker."""
        return await self._pool.load(self._spec(model))

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
        """Begin to load the default model, when asked to; failures show in `ready` and `health`."""
        if preload:
            self._startup = asyncio.create_task(self._preload())

    async def _preload(self) -> None:
        """Load the default model, however long that takes; requests have a limit, the start has none."""
        while True:
            try:
                await self.load(self.resolve(None))
            except errors.ModelLoading:
                continue
            except errors.VoiceStackError as error:
                self._failure = error
                log.error("the default model cannot be loaded: %s", error.message)  # noqa: TRY400 - not a bug
            return

    async def loaded(self) -> None:
        """Wait for the default model; raise why it could not be loaded."""
        if self._startup is not None:
            await self._startup
        if self._failure is not None:
            raise self._failure

    @property
    def ready(self) -> bool:
        """Whether the default model answers, or is unloaded for idleness with its files in place."""
        if self._draining:
            return False
        try:
            model = self.default()
        except errors.ModelNotFound:
            return False
        state = self.worker(model).state
        if state == "ready":
            return True
        return state == "unloaded" and model.installed and (bool(self.worker(model).facts) or self._startup is None)

    def workers(self) -> list[dict[str, Any]]:
        """Return what /health tells of every worker: its pid, RSS, state and calls."""
        return [{k: v for k, v in asdict(status).items() if k != "facts"} for status in self._pool.status()]

    def health(self) -> dict[str, Any]:
        """Return engine, model, device, version, and every worker with its pid, RSS and state."""
        facts: Mapping[str, Any] = {}
        model_id: str | None = None
        reason = self._failure.message if self._failure else None
        try:
            model = self.default()
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
        if self._startup is not None:
            self._startup.cancel()
        await self._pool.close()
