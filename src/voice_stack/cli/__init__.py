"""The command `voice-stack`."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from core.errors import VoiceStackError
from voice_stack import __version__
from voice_stack.cli import batch, diarize, doctor, engines, models, serve, speak, speakers, transcribe, tune, voices

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Self-hosted speech services: [b]ASR[/b] on port 5001, [b]TTS[/b] on port 5002.",
)
app.add_typer(serve.app, name="serve")
app.add_typer(models.app, name="models")
app.add_typer(voices.app, name="voices")
app.add_typer(speakers.app, name="speakers")
app.command("transcribe")(transcribe.transcribe)
app.command("batch")(batch.batch)
app.command("diarize")(diarize.diarize)
app.command("speak")(speak.speak)
app.command("engines")(engines.engines)
app.command("doctor")(doctor.doctor)
app.command("tune")(tune.tune)


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
