"""`voice-stack diarize`: who speaks when in a recording, by the running service or by a worker of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from asr.diarization.engine import DiarizeOptions, Turn
from asr.diarization.rttm import rttm
from asr.settings import AsrSettings
from core import errors, logs
from voice_stack.cli import diarizer, runner
from voice_stack.cli import output as outputs
from voice_stack.cli.client import service_url
from voice_stack.cli.transcribe import progress_bar, write


def diarize(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Recording or video.")],
    output_format: Annotated[
        str | None,
        typer.Option("--format", "-f", help="rttm, json or table; else by the file's suffix; else table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; its suffix is the format; else standard output."),
    ] = None,
    num_speakers: Annotated[int | None, typer.Option(help="How many speakers there are.")] = None,
    min_speakers: Annotated[int | None, typer.Option(help="How many there are at least.")] = None,
    max_speakers: Annotated[int | None, typer.Option(help="How many there are at most.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Distance between speakers; a higher one finds fewer.")
    ] = None,
    min_on: Annotated[float, typer.Option(metavar="SECONDS", help="Drop turns shorter than this.")] = 0.0,
    min_off: Annotated[float, typer.Option(metavar="SECONDS", help="Close pauses up to this.")] = 0.0,
    model: Annotated[str | None, typer.Option(help="Model id or alias; without a service also a path.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Do not use a running service.")] = False,
    url: Annotated[str | None, typer.Option(help="Use this service; else ASR_URL when it answers.")] = None,
) -> None:
    """Tell who speaks when in a recording.

    Example: voice-stack diarize meeting.m4a --format rttm --num-speakers 3
    """
    render = _renderer(output_format or _format_of(output))
    settings: AsrSettings = runner.load_settings("asr")
    logs.setup("WARNING")
    if output:
        outputs.check(output)
    options = DiarizeOptions(
        num_speakers=num_speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        threshold=threshold,
        min_on=min_on,
        min_off=min_off,
    )
    service = service_url(settings.url, local=local, url=url)
    answer = asyncio.run(_diarize(settings, file.resolve(), options, model, service))
    write(render(answer, file.stem).encode(), output)


async def _diarize(
    settings: AsrSettings, file: Path, options: DiarizeOptions, model: str | None, url: str | None
) -> dict[str, Any]:
    with progress_bar() as bar:
        # Without a total the bar says no more than that something goes on: a service tells no share.
        task = bar.add_task("diarizing", total=None if url else 1.0)
        if url:
            return await diarizer.by_service(url, settings, file, options, model)
        return await diarizer.by_worker(settings, file, options, model, lambda share: bar.update(task, completed=share))


def _table(answer: Mapping[str, Any], _: str) -> str:
    lines = [f"{'start':>9} {'end':>9}  speaker"]
    lines += [f"{each['start']:9.2f} {each['end']:9.2f}  {each['speaker']}" for each in answer["segments"]]
    lines += [
        f"{each['id']}: {each['total_speech_duration']:.1f} s in {each['segment_count']} turns"
        for each in answer["speakers"]
    ]
    return "\n".join(lines) + "\n"


def _json(answer: Mapping[str, Any], _: str) -> str:
    return orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _rttm(answer: Mapping[str, Any], recording: str) -> str:
    segments = answer["segments"]
    names = list(dict.fromkeys(each["speaker"] for each in segments))
    turns = [Turn(each["start"], each["end"], names.index(each["speaker"])) for each in segments]
    return rttm(turns, names, recording=recording)


FORMATS: dict[str, Callable[[Mapping[str, Any], str], str]] = {"rttm": _rttm, "json": _json, "table": _table}


def _renderer(name: str) -> Callable[[Mapping[str, Any], str], str]:
    if name not in FORMATS:
        raise errors.UnsupportedFormat(f"unknown format {name!r}; use one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _format_of(output: Path | None) -> str:
    """Return the format that a file's suffix stands for, table without one and for .txt."""
    suffix = output.suffix.lstrip(".").lower() if output else ""
    return suffix if suffix not in {"", "txt"} else "table"
