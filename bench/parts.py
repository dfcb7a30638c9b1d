"""The parts of a benchmark that can be run one by one, and how a part's outcome gets into the file of earlier ones."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import environments
from bench.machine import Machine
from bench.results import Result, Row

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Part:
    """What one part found; see bench.results.Result for the fields."""

    figures: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    samples: dict[str, Sequence[float]] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)
    peers: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def measured(measure: Callable[[], Part], say: Callable[[str], None]) -> Part:
    """Measure a part. One that breaks off has no figures, those of an earlier run included; the others go on."""
    try:
        return measure()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is said and fails the run
        say(traceback.format_exc())
        return Part(failures=[f"broken off: {type(error).__name__}: {error}"])


def code(root: Path = ROOT, environments: Path = environments.FOLDER) -> str:
    """Return a name for the code as it is now, committed or not: ours, that of the benchmarks, and the other programs.

    `environments` is the folder of those programs; what each is made of is in its stamp.
    """
    folders = (root / "src", root / "bench")
    found = [*(path for folder in folders for end in ("*.py", "*.toml") for path in folder.rglob(end))]
    digest = hashlib.sha256()
    for path in sorted([*found, root / "pyproject.toml", *environments.glob("*/built.stamp")]):
        digest.update(f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def result(parts: Mapping[str, Part], owners: Mapping[str, str], earlier: Result | None, new: Result) -> Result:
    """Return `new`, which holds no figures, with those of the parts, and with those of `earlier` that still hold.

    `owners` names the part of each figure. What an earlier run found in the same parts is dropped, and everything it
    found where it was made on another machine, of other code, or as quick a run as the new one is not.
    """
    old = earlier if earlier is not None and comparable(earlier, new) else new
    kept = {key: value for key, value in old.figures.items() if owners.get(key) not in parts}
    tables = {key: rows for key, rows in old.tables.items() if key not in parts}
    return Result(
        **new.model_dump(include={"measured_at", "quick", "machine", "settings", "unit"}),
        samples=_merged(old.samples, {key: _tagged(key, part.samples) for key, part in parts.items()}),
        details=_merged(old.details, {key: _tagged(key, part.details) for key, part in parts.items()}),
        tables=tables | {key: part.rows for key, part in parts.items() if part.rows},
        peers={**old.peers, **{name: facts for part in parts.values() for name, facts in part.peers.items()}},
        notes=_lines(old.notes, {key: part.notes for key, part in parts.items()}),
        failures=_lines(old.failures, {key: part.failures for key, part in parts.items()}),
        **kept,
        **{key: value for part in parts.values() for key, value in part.figures.items()},
    )


def comparable(one: Result, other: Result) -> bool:
    """Whether both were measured on the same machine, of the same code, with the same settings and thoroughness."""
    return (one.quick, dict(one.settings), _lasting(one.machine)) == (
        other.quick,
        dict(other.settings),
        _lasting(other.machine),
    )


def _lasting(machine: Machine) -> Mapping[str, object]:
    return machine.model_dump(exclude={"load"})


def _tagged(part: str, found: Mapping[str, object]) -> dict[str, object]:
    return {f"{part}: {key}": value for key, value in found.items()}


def _merged(old: Mapping[str, object], new: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    kept = {key: value for key, value in old.items() if key.partition(": ")[0] not in new}
    return kept | {key: value for found in new.values() for key, value in found.items()}


def _lines(old: Iterable[str], new: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    kept = [line for line in old if line.partition(": ")[0] not in new]
    return (*kept, *(f"{part}: {line}" for part, lines in new.items() for line in lines))
