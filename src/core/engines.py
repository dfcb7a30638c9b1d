"""What every engine is: plain synchronous Python that runs inside a worker process and never sees a request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from core.errors import ConfigurationError

Device = Literal["cpu", "cuda", "rocm", "mps"]
Runtime = Literal["none", "ctranslate2", "onnxruntime", "torch"]


class EngineOptions(BaseModel):
    """An engine's own settings (`ASR_ENGINE_OPTIONS__BEAM_SIZE=3`); unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContext:
    """Everything an engine is told when it is made.

    `model` is the folder with the weights (None: the engine needs none), `model_id` the catalogue's name for it,
    `device` one of cpu, cuda, rocm, mps, with `device_index` among several, `compute_type` the number format
    ("default" lets the engine choose), `threads` the CPU threads a call may use (0: its own choice), `workers` how many
    calls it is given at once (0: its own choice, where it has one), `cache` a folder of its own for what it derives
    from its inputs, `options` the raw engine options.
    """

    model: Path | None = None
    model_id: str = ""
    device: Device = "cpu"
    device_index: int = 0
    compute_type: str = "default"
    threads: int = 0
    workers: int = 1
    cache: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Engine(ABC):
    """Base of ASR and TTS engines: made from a context, loaded once, closed once."""

    Options: ClassVar[type[EngineOptions]] = EngineOptions
    requires: ClassVar[tuple[str, ...]] = ()
    """Importable names the engine needs; checked with find_spec, never imported outside `load`."""
    extra: ClassVar[str | None] = None
    """The pip extra that brings them."""
    runtime: ClassVar[Runtime] = "none"
    """The library that computes; it decides which devices the engine can use (core/devices.py)."""
    licence: ClassVar[str] = "MIT"
    """Licence of the library behind the engine, for docs/engines.md and `voice-stack engines`."""

    def __init__(self, context: EngineContext) -> None:
        self.check_requirements()
        self.context = context
        self.options = self.Options.model_validate(dict(context.options))

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Return the required names that are not installed."""
        return tuple(name for name in cls.requires if not _is_there(name))

    @classmethod
    def check_requirements(cls) -> None:
        """Raise ConfigurationError naming the pip extra when a library is missing."""
        if missing := cls.missing():
            raise ConfigurationError(f"engine {cls.__name__} needs {', '.join(missing)}: {cls.install_line()}")

    @classmethod
    def install_line(cls) -> str:
        """Return the command that brings what the engine needs: its extra, else the names themselves."""
        return f"pip install 'voice-stack[{cls.extra}]'" if cls.extra else f"pip install {' '.join(cls.missing())}"

    @abstractmethod
    def load(self) -> None:
        """Import the library, load the weights, and prove with a smoke inference that they work."""

    def close(self) -> None:  # noqa: B027 - an engine with nothing to free need not say so
        """Free what `load` took; calling it twice is fine."""


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False
