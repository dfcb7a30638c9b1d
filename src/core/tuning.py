"""What `voice-stack tune` found best on this machine: kept in the state folder, and read when a service starts."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

log = logging.getLogger(__name__)
FILE = "tuning.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How an engine uses its `device`, and no other: `workers` decoders at once with `threads` CPU threads each.

    A decoder takes `batch_size` windows in one call. 0 leaves each of them to the engine.
    """

    device: str
    workers: int = 0
    threads: int = 0
    batch_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a setup was found best under: it says nothing about another machine, device or release of the library."""

    model: str
    device: str
    compute_type: str
    cores: int
    library: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    conditions: Conditions
    setup: Setup


_ENTRIES = TypeAdapter(list[_Entry])


class Tuning:
    """The setups in the state folder."""

    def __init__(self, state: Path) -> None:
        self.path = state / FILE

    def knows(self, model: str) -> bool:
        """Tell whether this model was tuned at all, under whatever conditions."""
        return any(entry.conditions.model == model for entry in self._read())

    def find(self, conditions: Conditions) -> Setup | None:
        """Return what was found best under just these conditions."""
        entries = [entry for entry in self._read() if _place(entry.conditions) == _place(conditions)]
        for entry in entries:
            if entry.conditions == conditions:
                return entry.setup
        for entry in entries:
            log.info("what was tuned for %s is out of date: it was for %s", conditions.model, entry.conditions)
        return None

    def save(self, conditions: Conditions, setup: Setup) -> None:
        """Keep a setup, in place of what was kept for the model on this device. Raises OSError."""
        others = [entry for entry in self._read() if _place(entry.conditions) != _place(conditions)]
        entries = [asdict(entry) for entry in [*others, _Entry(conditions=conditions, setup=setup)]]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
        new.replace(self.path)

    def _read(self) -> list[_Entry]:
        try:
            return _ENTRIES.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read and is ignored: %s", self.path, error)
            return []


def _place(conditions: Conditions) -> tuple[str, str]:
    return conditions.model, conditions.device
