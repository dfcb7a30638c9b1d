"""The models of one service: workers found or made, the default loaded at start, health told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Unpack

from core import errors
from core.catalogue import Catalogue
from core.chains import Resting
from core.memory import MIB
from core.metrics import Metrics
from core.model_entry import ModelRef, Task
from core.model_names import ModelNames
from core.pool import WorkerPool
from core.process import Call, WorkerSpec
from core.registry import EngineRegistry
from core.settings import ServiceSettings
from core.workers import CallOptions, Worker

log = logging.getLogger(__name__)


class ModelHost(ModelNames):
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
        super().__init__(catalogue, task=task, default=default, fallback=settings.model_fallback, registry=registry)
        self.warn_of_models_file()
        self.resting = Resting()
        self._settings = settings
        self._spec = spec
        self._metrics = metrics
        self._preloaded = preloaded
        self._pool = WorkerPool(settings.model_slots, memory=settings.model_memory_mb * MIB, stays=self._stays)
        metrics.watch(self._pool.status)
        self._draining = False
        self._untried = True
        """Whether the default model counts as ready while it is unloaded, though it was never loaded."""
        self._startup: asyncio.Task[None] | None = None
        self._others: asyncio.Task[None] | None = None
        self._failure: errors.VoiceStackError | None = None

    def answering(self, name: str | None) -> list[ModelRef]:
        """Return the models that may answer a request, as `chain`, those last that are down as far as is known."""
        return sorted(self.chain(name), key=lambda model: bool(self.resting.why(model) or self.worker(model).error))

    def _stays(self, model_id: str) -> bool:
        """Return whether a model is the default one, or one of those that are loaded at start."""
        for name in (None, *self._preloaded):
            with contextlib.suppress(errors.VoiceStackError):
                if (self.resolve(name) if name else self.default()).id == model_id:
                    return True
        return False

    def worker(self, model: ModelRef) -> Worker:
        """Return the worker of a model, loaded or not."""
        return self._pool.worker(self._spec_of(model))

    def _spec_of(self, model: ModelRef) -> WorkerSpec:
        """Return what the worker of a model runs; with the size of its weights where memory is counted."""
        with errors.of_model(model.id):
            spec = self._spec(model)
        if self.is_remote(model):
            spec = replace(spec, takes_slot=False)
        return replace(spec, size=self._size(model)) if self._settings.model_memory_mb else spec

    def _size(self, model: ModelRef) -> int:
        if model.size is not None or model.path is None:
            return model.size or 0
        try:
            return _bytes_in(model.path, model.path.stat().st_mtime_ns)
        except OSError:
            # Somebody takes it away just now; to load it says so.
            return 0

    async def load(self, model: ModelRef) -> Worker:
        """Load a model and return its worker; see Worker.load for what is raised, and Draining after `drain`."""
        self._check_draining()
        with errors.of_model(model.id):
            return await self._pool.load(self._spec_of(model))

    async def unload(self, model: ModelRef) -> None:
        """Unload a model, or give up loading it. Raises NotFound when it is not loaded, Conflict while it is in use."""
        await self._pool.unload(model.id)

    def kept_out(self, model: ModelRef) -> AbstractAsyncContextManager[None]:
        """Keep a model unloaded while its files go; see WorkerPool.kept_out."""
        return self._pool.kept_out(model.id)

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
        """Call the worker of a model; see Worker.call for how, and for what is raised.

        Errors of the call say which model it was; those of the caller's own block do not.
        """
        self._check_draining()
        asked = time.monotonic()
        async with contextlib.AsyncExitStack() as stack:
            with errors.of_model(model.id):
                call = await stack.enter_async_context(self.worker(model).call(method, params, **how))
            call.model = model.id
            self._metrics.observe_wait(time.monotonic() - asked, model=model.id)
            yield call

    def _check_draining(self) -> None:
        if self._draining:
            raise errors.Draining("the service is shutting down")

    def drain(self) -> None:
        """Take no more calls and turn away those that wait; those that run go on."""
        self._draining = True
        self._pool.drain()

    def start(self, *, preload: bool) -> None:
        """Begin to load the default model and then those to preload, when asked to.

        Failures of the default model show in `ready` and `health`, those of the others in the log.
        """
        self._untried = not preload
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
                except errors.Conflict:
                    log.info("the default model was unloaded while it was loading; the first request loads it")
                    self._untried = True
                    return
                except errors.VoiceStackError as error:
                    self.resting.note(model, error)
                    failures.append(error)
                    log.error("the default model cannot be loaded: %s", error.message)  # noqa: TRY400 - not a bug
                else:
                    return
        except errors.VoiceStackError as error:
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
                model = self.resolve(name)
                if model.id == self.default().id:
                    continue
                if self._pool.has_room(self._spec_of(model)):
                    await self._patiently(model)
                else:
                    what = "no room for %s at start: MODEL_SLOTS and MODEL_MEMORY_MB say how much there is"
                    log.warning(what, model.id)
            except errors.VoiceStackError as error:
                log.error("the model %s cannot be loaded at start: %s", name, error.message)  # noqa: TRY400 - not a bug

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
        return worker.state == "ready" or (worker.state == "unloaded" and (bool(worker.facts) or self._untried))

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
        except errors.VoiceStackError as error:
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


@lru_cache(maxsize=256)
def _bytes_in(path: Path, changed: int) -> int:  # noqa: ARG001 - `changed` is for the cache: what changes is counted anew
    """Return the bytes of a file, or of those in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
