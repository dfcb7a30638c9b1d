"""`voice-stack models ps`: what the services of this machine have loaded."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, TypedDict

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from core.errors import Unavailable
from voice_stack.cli import runner
from voice_stack.cli.client import key_header, root
from voice_stack.cli.pull_progress import size_text

_ASK_SECONDS = 2.0
_NAMES: tuple[runner.Name, ...] = ("asr", "tts")


class Row(TypedDict):
    """A process of a model; the keys are those of the JSON output."""

    service: str
    id: str
    state: str
    pid: int | None
    rss_bytes: int | None
    device: str | None


def ps(as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per process.")] = False) -> None:
    """List the models that the services at ASR_URL and TTS_URL have loaded; exit status 1 when neither answers.

    Example: voice-stack models ps
    """
    rows: list[Row] = []
    gone = 0
    for name in _NAMES:
        try:
            rows += _rows(name)
        except Unavailable as error:
            typer.echo(f"voice-stack: {error.message}", err=True)
            gone += 1
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif rows:
        model = Column("model", no_wrap=True)
        table = Table(
            "service", model, "state", "pid", "memory", "device", box=None, header_style="bold", pad_edge=False
        )
        for row in rows:
            memory = size_text(row["rss_bytes"]) if row["pid"] else ""
            pid = str(row["pid"] or "")
            table.add_row(*map(escape, (row["service"], row["id"], row["state"], pid, memory, row["device"] or "")))
        Console().print(table)
    elif gone < len(_NAMES):
        typer.echo("no model is loaded")
    raise typer.Exit(1 if gone == len(_NAMES) else 0)


def _rows(name: runner.Name) -> list[Row]:
    """Return the processes of a service; Unavailable says why it does not tell."""
    settings: Any = runner.load_settings(name)
    url = root(settings.url)
    try:
        answer = httpx.get(
            f"{url}/api/ps", headers=key_header(settings.api_keys), timeout=_ASK_SECONDS, trust_env=False
        )
        told = answer.raise_for_status().json()["details"]
        return [
            Row(
                service=name,
                id=each["id"],
                state=each["state"],
                pid=each["pid"],
                rss_bytes=each["rss_bytes"],
                device=each["device"],
            )
            for each in told
        ]
    except httpx.HTTPStatusError as error:
        raise Unavailable(f"the {name} service at {url} answered {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"no {name} service answers at {url}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"what answers at {url} is not our {name} service") from error
