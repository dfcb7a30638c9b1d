"""`voice-stack engines`: those that come with voice-stack, those of other packages, and what each lacks here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from rich.console import Console

from asr import engine_factory as asr_engines
from asr.diarization import engine_factory as diarizers
from core.engines import Engine
from core.errors import VoiceStackError
from core.registry import EngineRegistry
from tts import engine_factory as tts_engines

_OURS = "built in"
_HEADER = ("task", "engine", "from", "licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """An engine; the names are the keys of the JSON output.

    `origin` is the package that brings it, None for ours. `missing` are the libraries that are not installed, `install`
    the line that installs them, `problem` why an engine cannot even be looked at.
    """

    task: str
    name: str
    origin: str | None = None
    licence: str | None = None
    available: bool = False
    missing: tuple[str, ...] = ()
    install: str | None = None
    problem: str | None = None


def engines(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per engine.")] = False,
) -> None:
    """List the engines, their licences, which can be used here and how to install the others.

    Example: voice-stack engines
    """
    rows = list(_rows())
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
        return
    lines = [_HEADER, *((row.task, row.name, row.origin or _OURS, row.licence or "?") for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    console = Console(highlight=False, markup=False, emoji=False)
    for line, state in zip(lines, ["state", *map(_state, rows)], strict=True):
        # No table: its cells are cut on a narrow terminal, and what installs an engine is there to be copied.
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print("  ".join((*cells, state)), soft_wrap=True, style="bold" if line is _HEADER else None)


def _rows() -> Iterator[EngineRow]:
    yield from _of("ASR", asr_engines.registry(), asr_engines.TABLE, "voice_stack.asr_engines")
    yield from _of("TTS", tts_engines.registry(), tts_engines.TABLE, "voice_stack.tts_engines")
    yield from _of("speakers", diarizers.registry(), diarizers.TABLE, "voice_stack.diarizers")


def _of(task: str, registry: EngineRegistry[Any], ours: Mapping[str, str], group: str) -> Iterator[EngineRow]:
    packages = {point.name: point.dist.name if point.dist else "?" for point in entry_points(group=group)}
    for name in registry.names():
        yield _row(task, name, registry, origin=None if name in ours else packages.get(name, "?"))


def _row(task: str, name: str, registry: EngineRegistry[Any], *, origin: str | None) -> EngineRow:
    try:
        engine = registry.get(name)
        missing = engine.missing()
    except VoiceStackError as error:
        return EngineRow(task=task, name=name, origin=origin, problem=error.message)
    except Exception as error:  # noqa: BLE001 - somebody else's package may raise anything
        return EngineRow(task=task, name=name, origin=origin, problem=f"{type(error).__name__}: {error}")
    return EngineRow(
        task=task,
        name=name,
        origin=origin,
        licence=engine.licence if origin is None or _says_licence(engine) else None,
        available=not missing,
        missing=missing,
        install=engine.install_line() if missing else None,
    )


def _says_licence(engine: type[Engine]) -> bool:
    """Whether an engine of others names a licence: the default is that of ours."""
    return any("licence" in vars(one) for one in engine.__mro__ if one is not Engine)


def _state(row: EngineRow) -> str:
    if row.problem:
        return f"broken: {' '.join(row.problem.split())}"
    return row.install or "available"
