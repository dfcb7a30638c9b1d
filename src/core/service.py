"""What the ASR and the TTS service have in common, without HTTP: their models, their workers, their folder."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from core import devices
from core.catalogue import Catalogue
from core.errors import ModelNotFound, NotSupported
from core.host import ModelHost
from core.metrics import Metrics
from core.model_entry import ModelRef, Task
from core.process import WorkerSpec
from core.registry import EngineRegistry
from core.settings import ServiceSettings
from core.spool import Spool

log = logging.getLogger(__name__)


class Service(ABC):
    """A service: `start` before the first call, `close` at the end.

    `name` is asr or tts, `engine` and `model` are the configured ones. Raises ConfigurationError for an engine there
    is not, and for devices that are not there.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        name: str,
        task: Task,
        engine: str,
        model: str,
        preload: bool,
        registry: EngineRegistry[Any],
    ) -> None:
        registry.check(engine)
        self.catalogue = Catalogue.of(settings.places, engine=engine)
        self.metrics = Metrics()
        self.host = ModelHost(
            self.catalogue,
            task=task,
            default=model,
            settings=settings,
            registry=registry,
            spec=self.spec,
            metrics=self.metrics,
            preloaded=settings.models,
        )
        self._settings = settings
        self._warn_of_engine(name, engine, model)
        self._engine_name = engine
        self._options_for: str | None = None
        """The engine of the default model, once it was asked for."""
        self._name = name
        self.devices = _devices(settings)
        self._tmp = settings.places.tmp
        self._preload = preload
        self._spool: Spool | None = None

    def _warn_of_engine(self, name: str, engine: str, default: str) -> None:
        """Tell the log when another engine than the configured one runs the default model, as its files are."""
        if "engine" not in self._settings.model_fields_set or self.host.members(default):
            return
        with suppress(ModelNotFound):
            if (model := self.host.default()).engine not in {engine, ""}:
                what = f"{name.upper()}_ENGINE", engine, model.id, model.engine
                log.warning("%s is %s, but the model %s is for the engine %s, which runs it", *what)

    @abstractmethod
    def spec(self, model: ModelRef) -> WorkerSpec:
        """Return what the worker of a model runs."""

    def engine_options(self, model: ModelRef, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a model's engine: its own over those of the settings, where these are for its engine.

        They are for the configured engine, which is the default model's where the settings name none.
        """
        if self._options_for is None and "engine" not in self._settings.model_fields_set:
            with suppress(ModelNotFound):
                self._options_for = self.host.default().engine
        engine = self._options_for or self._engine_name
        return {**(given if engine == (model.engine or engine) else {}), **model.options}

    @property
    def spool(self) -> Spool:
        """The folder for uploads in flight; made when it is first asked for."""
        if self._spool is None:
            self._spool = Spool(self._tmp, self._name)
        return self._spool

    @property
    def ready(self) -> bool:
        """Whether the default model answers, or is idle with its files in place."""
        return self.host.ready

    def health(self) -> dict[str, Any]:
        """Return what /health tells: engine, model, device, workers."""
        return self.host.health()

    @property
    def concurrent(self) -> int | None:
        """How many requests the default model computes at once, on all its devices; None before it was first loaded."""
        with suppress(ModelNotFound, NotSupported):
            worker = self.host.worker(self.host.default())
            if facts := worker.facts:
                return int(facts.get("slots", 1)) * int(facts.get("batch_size", 1)) * worker.processes
        return None

    async def look(self) -> None:  # noqa: B027 - nothing to notice for most
        """Notice what changed on the disk, before somebody is told what there is."""

    def capabilities(self) -> dict[str, Any]:
        """Return what this service can do with what is installed."""
        models = self.host.installed()
        health = self.host.health()
        own = self.own_capabilities()
        common = {
            "object": "capabilities",
            "service": self._name,
            "version": self._settings.version,
            "device": health["device"],
            "default_model": health["model"],
            "models": [model.id for model in models],
            "engines": sorted({model.engine for model in models}),
            "auth": {
                "api_key_required": bool(self._settings.api_keys),
                "public_listings": self._settings.public_listings or not self._settings.api_keys,
            },
        }
        limits = {
            "concurrent": self.concurrent,
            "max_upload_bytes": self._settings.max_upload_mb << 20,
            "loaded_models": self._settings.model_slots,
            "model_load_seconds": self._settings.model_load_timeout,
        }
        return {**common, **own, "limits": {**limits, **own["limits"]}}

    @abstractmethod
    def own_capabilities(self) -> dict[str, Any]:
        """Return formats, languages and features, and of the `limits` those that only this service has."""

    async def start(self) -> None:
        """Begin to load the default model."""
        _ = self.spool
        self.host.start(preload=self._preload)

    def drain(self) -> None:
        """Begin to shut down: what runs goes on, what waits is told to go elsewhere."""
        self.host.drain()

    async def close(self) -> None:
        """End the workers and remove what is left of the requests."""
        await self.host.close()
        if self._spool is not None:
            self._spool.close()


def _devices(settings: ServiceSettings) -> tuple[int, ...]:
    """Return the devices that each model gets a process on; what the machine has is asked only where that matters."""
    several = len(settings.device_index) > 1
    return devices.spread(settings.device, settings.device_index, devices.hardware() if several else {})
