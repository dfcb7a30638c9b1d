"""`voice-stack voices`: what there is to speak with, and making more of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tts.settings import TtsSettings
from voice_stack.cli import runner
from voice_stack.cli.client import service_url
from voice_stack.cli.voice_places import Draft, LocalVoices, ServiceVoices, Voices

app = typer.Typer(no_args_is_help=True, help="List, add and remove voices.")
Local = Annotated[bool, typer.Option("--local", help="Do not use a running service.")]
Url = Annotated[str | None, typer.Option(help="Use this service; else TTS_URL when it answers.")]


@app.command("list")
def list_voices(
    model: Annotated[str | None, typer.Option(help="Model id; else all installed.")] = None,
    local: Local = False,
    url: Url = None,
) -> None:
    """List the voices of the installed models and the recordings in the voices folder.

    Example: voice-stack voices list --model kokoro
    """
    table = Table("voice", "language", "gender", "type", "model", box=None, header_style="bold")
    for row in asyncio.run(_place(url, local=local).rows(model)):
        cells = (row.name, row.language or "any", row.gender or "", row.type, row.model)
        table.add_row(*map(escape, cells))
    Console().print(table)


@app.command("add")
def add_voice(
    file: Annotated[Path, typer.Argument(help="Recording of one person speaking, 3 to 60 seconds, any format.")],
    name: Annotated[str | None, typer.Option(help="Name of the voice; else that of the file.")] = None,
    text: Annotated[str | None, typer.Option(help="What is said in the recording.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the recording.")] = None,
    consent: Annotated[str | None, typer.Option(help="Id of the speaker's consent, see docs/voices.md.")] = None,
    local: Local = False,
    url: Url = None,
) -> None:
    """Make a voice from a recording. Only with the speaker's consent.

    Example: voice-stack voices add anna.wav --name anna --language pt
    """
    draft = Draft(file=file, name=name or file.stem, text=text, language=language, consent=consent)
    voice_id = asyncio.run(_place(url, local=local).add(draft))
    Console().print(f"made {draft.name} ({voice_id})", markup=False, highlight=False, soft_wrap=True)


@app.command("rm")
def remove_voice(
    name: Annotated[str, typer.Argument(help="Name or id of a voice that was added.")],
    local: Local = False,
    url: Url = None,
) -> None:
    """Delete a voice that was made by `voices add` or through the service.

    Example: voice-stack voices rm anna
    """
    asyncio.run(_place(url, local=local).remove(name))
    Console().print(f"removed {name}", markup=False, highlight=False, soft_wrap=True)


def _place(url: str | None, *, local: bool) -> Voices:
    settings: TtsSettings = runner.load_settings("tts")
    service = service_url(settings.url, local=local, url=url)
    return ServiceVoices(service, settings) if service else LocalVoices(settings)
