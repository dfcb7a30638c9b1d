"""`voice-stack serve`: run the services."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Literal

import typer

from voice_stack.cli import both, runner

app = typer.Typer(no_args_is_help=True, help="Run the ASR service, the TTS service, or both.")

Host = Annotated[str | None, typer.Option(help="Address to listen on; else ASR_HOST / TTS_HOST, else 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on, 0 for any free one; else ASR_PORT / TTS_PORT.")]
Reload = Annotated[bool, typer.Option("--reload", help="Start again when a source file changes (development).")]
Debug = Annotated[bool, typer.Option("--debug", help="Let a debugger attach (DEBUGPY_HOST, DEBUGPY_PORT).")]


@app.command()
def asr(host: Host = None, port: Port = None, reload: Reload = False, debug: Debug = False) -> None:
    """Run the ASR service (speech to text).

    Example: voice-stack serve asr --port 5001
    """
    _serve("asr", host, port, reload=reload, debug=debug)


@app.command()
def tts(host: Host = None, port: Port = None, reload: Reload = False, debug: Debug = False) -> None:
    """Run the TTS service (text to speech).

    Example: TTS_MODEL=piper-en_US-joe-medium voice-stack serve tts
    """
    _serve("tts", host, port, reload=reload, debug=debug)


@app.command("all")
def serve_all(
    host: Host = None,
    asr_port: Port = None,
    tts_port: Port = None,
    check: Annotated[bool, typer.Option("--check", help="Once both are ready, speak and transcribe a text.")] = False,
    exit_after: Annotated[bool, typer.Option("--exit", help="Stop after the check; status 0 means it passed.")] = False,
) -> None:
    """Run both services in the foreground, each in its own process.

    Example: voice-stack serve all --check
    """
    _set("ASR", host, asr_port)
    _set("TTS", host, tts_port)
    raise typer.Exit(asyncio.run(both.run(check=check or exit_after, exit_after=exit_after)))


def _serve(name: Literal["asr", "tts"], host: str | None, port: int | None, *, reload: bool, debug: bool) -> None:
    _set(name.upper(), host, port)
    if debug:
        os.environ["DEBUGPY_ENABLE"] = "true"
    raise typer.Exit(runner.run_reloading(name) if reload else runner.run(name))


def _set(prefix: str, host: str | None, port: int | None) -> None:
    """Hand options on through the environment, which is where child processes look too."""
    if host is not None:
        os.environ[f"{prefix}_HOST"] = host
    if port is not None:
        os.environ[f"{prefix}_PORT"] = str(port)
