"""The command `voice-stack`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from core.errors import VoiceStackError
from voice_stack import __version__

COMMANDS = (
    "transcribe",
    "batch",
    "diarize",
    "speak",
    "engines",
    "doctor",
    "tune",
    "serve",
    "models",
    "voices",
    "speakers",
)
"""The commands in the order of the help; each is a module here with an `app`, or with a function of its name."""


@cache
def _load(name: str) -> Any:
    module = import_module(f"voice_stack.cli.{name}")
    parent = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False, callback=lambda: None)
    if hasattr(module, "app"):
        parent.add_typer(module.app, name=name)
    else:
        parent.command(name)(getattr(module, name))
    return typer.main.get_command(parent).commands[name]  # type: ignore[attr-defined]


class _Commands(Mapping[str, Any]):
    """The commands, imported when they are looked at: all of them take a second, and most runs are of one."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Root(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]  # nobody adds to them


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Self-hosted speech services: [b]ASR[/b] on port 5001, [b]TTS[/b] on port 5002.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"voice-stack {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Self-hosted speech services, OpenAI-compatible."""


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit status 1."""
    try:
        app()
    except VoiceStackError as error:
        line = f"[red]voice-stack:[/red] {escape(error.message)}"
        Console(stderr=True).print(line, soft_wrap=True, highlight=False, emoji=False)
        sys.exit(1)
