"""`voice-stack speakers`: the people who are recognised by their voices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from asr.settings import AsrSettings
from core import errors, logs
from voice_stack.cli import runner
from voice_stack.cli.client import service_url
from voice_stack.cli.speaker_places import Draft, LocalSpeakers, ServiceSpeakers, Speakers

app = typer.Typer(no_args_is_help=True, help="List, add and remove people known by their voices (VOICEPRINTS=on).")
_DATE = len("2026-01-31")
Local = Annotated[bool, typer.Option("--local", help="Do not use a running service.")]
Url = Annotated[str | None, typer.Option(help="Use this service; else ASR_URL when it answers.")]


@app.command("list")
def list_speakers(local: Local = False, url: Url = None) -> None:
    """List the registered people.

    Example: voice-stack speakers list
    """
    columns = [Column(name, overflow="fold") for name in ("name", "samples", "registered", "model")]
    # Whoever is to be forgotten may be named by it.
    table = Table(*columns, Column("id", no_wrap=True), box=None, header_style="bold")
    for row in asyncio.run(_place(url, local=local).rows()):
        cells = (row.name, str(row.samples), row.registered_at[:_DATE], ", ".join(row.models), row.id)
        table.add_row(*map(escape, cells))
    Console().print(table)


@app.command("add")
def add_speaker(
    name: Annotated[str, typer.Argument(help="Name of the person; one who is known gets more samples.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Recordings of this person alone, any format; three of 5 seconds or more are best.",
        ),
    ],
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; may be repeated.")] = None,
    model: Annotated[str | None, typer.Option(help="Model whose encoder listens; else the default.")] = None,
    local: Local = False,
    url: Url = None,
) -> None:
    """Register a person's voice. Only with their consent: voiceprints are biometric data.

    Example: voice-stack speakers add Anna monday.wav tuesday.m4a
    """
    draft = Draft(name=name, files=tuple(files), labels=_labels(label or []), model=model)
    added = asyncio.run(_place(url, local=local).add(draft))
    for file in added.unsure:
        _say(f"{file}: so little speech makes an uncertain voiceprint", error=True)
    _say(f"{name} ({added.id}) has {added.samples} sample{'s' * (added.samples != 1)}")


@app.command("rm")
def remove_speaker(
    person: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of a registered person.")],
    local: Local = False,
    url: Url = None,
) -> None:
    """Forget a person: all voiceprints of theirs are deleted and overwritten.

    Example: voice-stack speakers rm Anna
    """
    asyncio.run(_place(url, local=local).remove(person))
    _say(f"forgot {person}")


def _labels(given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [text for text, (key, mark, _) in zip(given, pairs, strict=True) if not (key and mark)]:
        raise errors.InvalidRequest(f"a label is KEY=VALUE, not {wrong[0]!r}")
    return {key: value for key, _, value in pairs}


def _place(url: str | None, *, local: bool) -> Speakers:
    settings: AsrSettings = runner.load_settings("asr")
    logs.setup("WARNING")
    service = service_url(settings.url, local=local, url=url)
    return ServiceSpeakers(service, settings) if service else LocalSpeakers(settings)


def _say(line: str, *, error: bool = False) -> None:
    Console(stderr=error).print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
