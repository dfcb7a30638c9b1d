"""`voice-stack tune`: try how this machine transcribes most, and keep what was found for the service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from asr import tuning
from asr.service import AsrService
from asr.settings import AsrSettings
from asr.tuning import Measured
from core import devices
from core.errors import InsufficientStorage, NotSupported, VoiceStackError
from core.model_entry import ModelRef
from core.process import WorkerSpec
from core.tuning import Conditions, Setup, Tuning
from voice_stack.cli import runner

_HEADER = ("decoders", "threads", "batch", "audio s per s", "one alone", "")


def tune(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="An id or alias; else ASR_MODEL.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is best and do not keep it.")] = False,
) -> None:
    """Measure how many decoders with how many threads transcribe most; with ASR_WORKERS=0 the service takes the best.

    Takes from half a minute to several, in which the machine should have nothing else to do.

    Example: voice-stack tune whisper-base
    """
    settings, name = runner.with_folder(runner.load_settings("asr"), model)
    settings = settings.model_copy(update={"log_level": "WARNING"})
    asyncio.run(_tune(settings, name, keep=not dry_run))


async def _tune(settings: AsrSettings, name: str | None, *, keep: bool) -> None:
    service = AsrService(settings)
    try:
        model = service.host.resolve(name)
        found, failed = await _measured(service, model)
    finally:
        await service.close()
    if not found:
        raise next(iter(failed.values()))
    best = tuning.best(found)
    _show(model, found, failed, best)
    if keep:
        _keep(settings, tuning.conditions(settings, model, service.host.engine(model)), best.setup)


async def _measured(service: AsrService, model: ModelRef) -> tuple[list[Measured], dict[Setup, VoiceStackError]]:
    """Return how fast each setup is, and what kept the others from being measured, as a GPU with too little memory."""
    spec = tuning.trial(service.spec(model))
    found: list[Measured] = []
    failed: dict[Setup, VoiceStackError] = {}
    with Console(stderr=True).status(f"loading {model.id}") as status:
        for setup in await _candidates(service, model, spec):
            status.update(f"{model.id}: {_words(setup)}")
            try:
                found.append(await tuning.measure(spec, setup))
            except NotSupported:
                raise
            except VoiceStackError as error:
                failed[setup] = error
    return found, failed


async def _candidates(service: AsrService, model: ModelRef, spec: WorkerSpec) -> list[Setup]:
    has_batches = "batch_size" in service.host.engine(model).Options.model_fields
    batches = has_batches and "batch_size" not in service.settings.engine_options
    return tuning.candidates(await tuning.device_of(spec), devices.usable_cores(), batches=batches)


def _show(model: ModelRef, found: list[Measured], failed: dict[Setup, VoiceStackError], best: Measured) -> None:
    table = Table(*_HEADER, title=model.id, box=None, header_style="bold", pad_edge=False)
    for each in found:
        speed = f"{each.throughput:.1f}", f"{each.latency:.2f} s"
        table.add_row(*_cells(each.setup), *speed, "best" if each is best else "")
    for setup, error in failed.items():
        table.add_row(*_cells(setup), "", "", error.message)
    Console().print(table)


def _keep(settings: AsrSettings, conditions: Conditions, setup: Setup) -> None:
    kept = Tuning(settings.places.state)
    try:
        kept.save(conditions, setup)
    except OSError as error:
        raise InsufficientStorage(f"{kept.path} cannot be written: {error.strerror}") from error
    typer.echo(f"kept in {kept.path}; services that are started from now on use it")
    if settings.workers or settings.threads:
        typer.echo("but not while ASR_WORKERS or ASR_THREADS is set, as it is here")


def _cells(setup: Setup) -> Iterator[str]:
    return (str(value or "auto") for value in (setup.workers, setup.threads, setup.batch_size))


def _words(setup: Setup) -> str:
    return ", ".join(f"{value} {name}" for value, name in zip(_cells(setup), _HEADER, strict=False))
