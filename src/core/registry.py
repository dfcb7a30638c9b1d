"""Which engines there are: a table of ours and the entry points of others; names are listed without importing any."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from core.engines import Engine
from core.errors import ConfigurationError

PLUGINS_VARIABLE = "VOICE_STACK_PLUGINS"
E = TypeVar("E", bound=Engine)


class EngineRegistry(Generic[E]):
    """Engine classes by name: `table` maps our names to "module:Class", `group` is the entry-point group of others.

    VOICE_STACK_PLUGINS=off ignores all outside engines, `a,b` admits only those named.
    """

    def __init__(self, *, base: type[E], table: Mapping[str, str], group: str) -> None:
        self._base = base
        self._group = group
        self._targets = dict(table)
        self._broken: dict[str, str] = {}
        for point in self._outside():
            if (taken := self._targets.get(point.name)) is not None:
                raise ConfigurationError(
                    f"two engines are called {point.name!r}: {taken} and {_origin(point)}; uninstall one of them,"
                    f" or name the outside engines to admit in {PLUGINS_VARIABLE}"
                )
            self._targets[point.name] = point.value

    def _outside(self) -> list[EntryPoint]:
        allowed = os.environ.get(PLUGINS_VARIABLE, "").strip()
        if allowed.lower() == "off":
            return []
        names = {name.strip() for name in allowed.split(",") if name.strip()}
        found = sorted(entry_points(group=self._group), key=lambda point: point.name)
        return [point for point in found if not names or point.name in names]

    def names(self) -> list[str]:
        """Return the engine names, ours first."""
        return list(self._targets)

    def check(self, name: str) -> None:
        """Raise ConfigurationError for a name there is no engine of."""
        if name not in self._targets:
            raise ConfigurationError(f"unknown engine {name!r}; there are: {', '.join(self._targets)}")

    def get(self, name: str) -> type[E]:
        """Import and return the engine class; ConfigurationError for an unknown name or a broken plug-in."""
        self.check(name)
        target = self._targets[name]
        if name in self._broken:  # its module would run again, for every question about its models
            raise ConfigurationError(self._broken[name])
        module, _, attribute = target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # somebody else's module may raise anything, OSError for a shared library
            reason = f"{type(error).__name__}: {error}"
            self._broken[name] = f"engine {name!r} cannot be imported from {target}: {reason}"
            raise ConfigurationError(self._broken[name]) from error
        if not (isinstance(found, type) and issubclass(found, self._base)):
            raise ConfigurationError(f"engine {name!r} ({target}) is not a subclass of {self._base.__name__}")
        return found


def _origin(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name}" if point.dist else point.value
