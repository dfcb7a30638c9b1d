"""`voice-stack voices`: what there is to speak with."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tts.service import TtsService
from tts.settings import TtsSettings
from voice_stack.cli import runner

app = typer.Typer(no_args_is_help=True, help="List the voices.")


@app.callback()
def _root() -> None:
    """List the voices."""


@app.command("list")
def list_voices(model: Annotated[str | None, typer.Option(help="Model id; else all installed.")] = None) -> None:
    """List the voices of the installed models and the recordings in the voices folder.

    Example: voice-stack voices list --model kokoro
    """
    settings: TtsSettings = runner.load_settings("tts")
    service = TtsService(settings)
    table = Table("voice", "language", "gender", "type", "model", box=None, header_style="bold")
    try:
        for each in [service.host.resolve(model)] if model else service.host.installed():
            for voice in service.voices(each):
                row = (voice.id, voice.language or "any", voice.gender or "", voice.type, each.id)
                table.add_row(*map(escape, row))
    finally:
        asyncio.run(service.close())
    Console().print(table)
