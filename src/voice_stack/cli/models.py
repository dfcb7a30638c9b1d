"""`voice-stack models`: what there is, what is here, and how it gets here and goes again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypedDict

import httpx
import typer
from rich.console import Console

from asr.diarization.engine_factory import registry as diarizers
from asr.settings import AsrSettings
from core.catalogue import Catalogue
from core.engine_loading import EngineConfig, load_engine
from core.errors import ModelBroken, ModelNotFound, VoiceStackError
from core.model_entry import ModelRef
from core.model_store import Damage
from core.settings import Places
from tts.settings import TtsSettings
from voice_stack.cli import runner
from voice_stack.cli.client import root
from voice_stack.cli.models_ps import ps
from voice_stack.cli.pull_progress import shown, size_text

_ASK_SECONDS = 1.0
_NO_FILES = "needs no files"
_HEADER = ("model", "task", "engine", "size", "licence", "state")
_SHORT = {"automatic-speech-recognition": "ASR", "text-to-speech": "TTS", "speaker-diarization": "speakers"}

app = typer.Typer(no_args_is_help=True, help="List, pull, verify and remove models.")

Names = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids or aliases; `models list` shows them.")]


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per model.")] = False,
) -> None:
    """List the models of the catalogue and which of them are installed and loaded.

    Example: voice-stack models list
    """
    catalogue = _catalogue()
    with _one_line():
        loaded = _loaded()
    rows = [_row(ref, catalogue, loaded) for ref in catalogue.entries()]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    lines = [_HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        # No table: its cells are cut on a narrow terminal, and ids are there to be copied.
        cells = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(cells.rstrip(), soft_wrap=True, style="bold" if line is _HEADER else None)


app.command("ps")(ps)


@app.command("pull")
def pull_models(
    names: Names,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of models that restrict their use.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Check an installed model and fetch what is damaged or missing.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take the files from this folder instead of the network."),
    ] = None,
) -> None:
    """Download models; what is installed already stays as it is, and an interrupted pull goes on where it stopped.

    Models that tell speakers are tried once they are here.

    Example: voice-stack models pull whisper-base kokoro
    """
    catalogue = _catalogue()
    console = Console(stderr=True)
    with _one_line():
        here = {ref.id for ref in catalogue.entries() if ref.installed}
    for name in names:
        with _one_line():
            with shown(console) as progress:
                manifest = catalogue.pull(
                    name, accept_licence=accept_licence, again=again, folder=folder, progress=progress
                )
            if manifest.files and (again or manifest.id not in here):
                _prove(catalogue.lookup(manifest.id))
        where = f"{size_text(manifest.size)} in {catalogue.store.folder(manifest.id)}"
        typer.echo(f"{manifest.id}: {where if manifest.files else _NO_FILES}")
        if manifest.missing:
            typer.echo(f"{manifest.id}: {len(manifest.missing)} optional files are not installed (--again tries again)")


@app.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Ids or aliases; none means all installed.")
    ] = None,
) -> None:
    """Hash every file of installed models again; exit status 1 when one is not what was pulled.

    Example: voice-stack models verify whisper-base
    """
    catalogue = _catalogue()
    damaged = False
    for name in names or [ref.id for ref in catalogue.entries() if catalogue.store.is_installed(ref.id)]:
        with _one_line():
            found = catalogue.verify(name)
        damaged |= bool(found)
        typer.echo("\n".join(_damage(name, each) for each in found) or f"{name}: ok", err=bool(found))
    raise typer.Exit(1 if damaged else 0)


@app.command("path")
def path_of_model(
    name: Annotated[str, typer.Argument(metavar="ID", help="An id, an alias, or a folder with weights.")],
) -> None:
    """Print the folder of an installed model.

    Example: ls "$(voice-stack models path whisper-base)"
    """
    catalogue = _catalogue()
    with _one_line():
        ref = catalogue.require(catalogue.resolve(name))
        if ref.path is None:
            raise ModelNotFound(f"model {ref.id!r} has no folder: it {_NO_FILES}")
        typer.echo(str(ref.path))


@app.command("rm")
def remove_models(names: Names) -> None:
    """Delete installed models and what an interrupted pull left.

    Example: voice-stack models rm whisper-tiny.en
    """
    catalogue = _catalogue()
    for name in names:
        with _one_line(), shown(Console(stderr=True)) as progress:
            freed = catalogue.remove(name, progress=progress)
        typer.echo(f"{name}: {size_text(freed)} freed")


def _prove(ref: ModelRef) -> None:
    """Load a diarization model, which compares what it computes with what is known of it.

    Those are small; that others work is proved when they are loaded first. Raises ModelBroken, ConfigurationError.
    """
    if ref.task != "speaker-diarization":
        return
    registry = diarizers()
    if registry.get(ref.engine).missing():
        return
    config = EngineConfig(engine=ref.engine, model=ref.path, model_id=ref.id, device="cpu")
    try:
        load_engine(registry, config).close()
    except ModelBroken as error:
        raise ModelBroken(f"{ref.id} is here, but does not work on this machine: {error.message}") from error


def _catalogue() -> Catalogue:
    with _one_line():
        return Catalogue.of(Places())


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what can go wrong into one line on stderr and exit status 1."""
    try:
        yield
    except VoiceStackError as error:
        typer.echo(f"voice-stack: {error.message}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"voice-stack: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("voice-stack: stopped; the next pull goes on with what is here", err=True)
        raise typer.Exit(1) from None


class Row(TypedDict):
    """What is told about a model; the keys are those of the JSON output."""

    id: str
    task: str
    engine: str
    size: int | None
    licence: str
    languages: list[str]
    aliases: list[str]
    installed: bool
    missing: list[str]
    loaded: bool
    path: str | None


def _row(ref: ModelRef, catalogue: Catalogue, loaded: set[str]) -> Row:
    manifest = catalogue.store.manifest(ref.id) if ref.path else None
    return Row(
        id=ref.id,
        task=ref.task,
        engine=ref.engine,
        size=manifest.size if manifest else ref.size,
        licence=ref.licence,
        languages=list(ref.languages),
        aliases=list(ref.aliases),
        installed=ref.installed,
        missing=list(manifest.missing) if manifest else [],
        loaded=ref.id in loaded,
        path=str(ref.path) if ref.path else None,
    )


def _cells(row: Row) -> tuple[str, ...]:
    """Return the row of the table."""
    state = ("loaded" if row["loaded"] else "installed") if row["installed"] else ""
    if row["missing"]:
        state += f", without {len(row['missing'])} optional files"
    return row["id"], _SHORT.get(row["task"], row["task"]), row["engine"], size_text(row["size"]), row["licence"], state


def _loaded() -> set[str]:
    """Return the ids that the services of this machine have loaded; none where no service answers."""
    found: set[str] = set()
    services: tuple[AsrSettings | TtsSettings, ...] = (runner.load_settings("asr"), runner.load_settings("tts"))
    for settings in services:
        try:
            answer = httpx.get(
                f"{root(settings.url)}{settings.api_v1_str}/models", timeout=_ASK_SECONDS, trust_env=False
            )
            found |= {model["id"] for model in answer.raise_for_status().json()["data"] if model.get("loaded")}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _damage(name: str, damage: Damage) -> str:
    if damage.got is None:
        return f"{name}: {damage.path} is gone; `voice-stack models pull --again {name}` gets it"
    return f"{name}: {damage.path} is damaged: expected sha256 {damage.expected}, got {damage.got}"
