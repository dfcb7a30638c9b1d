"""Making an engine inside a worker process: its class by name, its device chosen, its options checked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from core import devices
from core.engines import Engine, EngineContext
from core.errors import ConfigurationError
from core.registry import EngineRegistry

log = logging.getLogger(__name__)
E = TypeVar("E", bound=Engine)


class EngineConfig(BaseModel):
    """What the API process tells a worker about its engine; the fields are those of EngineContext, before choices.

    `device` may still be "auto"; `engine_options` are raw settings.
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


def load_engine(registry: EngineRegistry[E], config: EngineConfig) -> E:
    """Return the loaded engine.

    Raises ConfigurationError for an unknown engine, a missing library, a device that is not there or a wrong option,
    and whatever the engine's `load` raises.
    """
    found = registry.get(config.engine)
    found.check_requirements()
    choice = devices.choose(config.device, devices.usable(found.runtime), index=config.device_index)
    log.info("%s runs on %s (%s)", config.model_id or config.engine, choice.device, choice.reason)
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
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"option {name!r} of engine {config.engine}: {first['msg']}") from error
    engine.load()
    return engine
