"""Making an engine inside a worker process: its class by name, its device chosen, its options checked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from core import devices, model_options
from core.engines import Engine, EngineContext
from core.errors import ConfigurationError
from core.registry import EngineRegistry
from core.tuning import Setup

log = logging.getLogger(__name__)
E = TypeVar("E", bound=Engine)


class EngineConfig(BaseModel):
    """What the API process tells a worker about its engine; the fields are those of EngineContext, before choices.

    `device` may still be "auto"; `engine_options` are raw settings. `tuned` goes before `workers` and `threads`, and
    behind the options, where the device turns out to be the one it was found best for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    engine: str
    model: Path | None = None
    model_id: str = ""
    device: str = "auto"
    device_index: int = 0
    compute_type: str = "default"
    threads: int = 0
    workers: int = 1
    cache: Path | None = None
    engine_options: dict[str, Any] = {}
    tuned: Setup | None = None


def load_engine(registry: EngineRegistry[E], config: EngineConfig) -> E:
    """Return the loaded engine.

    Raises ConfigurationError for an unknown engine, a missing library, a device that is not there or a wrong option,
    and whatever the engine's `load` raises.
    """
    found = registry.get(config.engine)
    found.check_requirements()
    choice = devices.choose(config.device, devices.usable(found.runtime), index=config.device_index)
    log.info("%s runs on %s (%s)", config.model_id or config.engine, choice.device, choice.reason)
    if config.tuned is not None:
        config = _tuned(config, config.tuned, choice.device)
    context = EngineContext(
        model=config.model,
        model_id=config.model_id,
        device=choice.device,
        device_index=config.device_index,
        compute_type=config.compute_type,
        threads=config.threads,
        workers=config.workers,
        cache=config.cache,
        options=config.engine_options,
    )
    try:
        engine = found(context)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        text = model_options.complaint(first, config.engine, found.Options.model_fields)
        raise ConfigurationError(text) from error
    engine.load()
    return engine


def _tuned(config: EngineConfig, setup: Setup, device: str) -> EngineConfig:
    if setup.device != device:
        log.info("what was tuned for %s is for %s, not %s", config.model_id or config.engine, setup.device, device)
        return config
    options = {"batch_size": setup.batch_size, **config.engine_options} if setup.batch_size else config.engine_options
    return config.model_copy(
        update={"workers": setup.workers, "threads": setup.threads, "engine_options": options},
    )
