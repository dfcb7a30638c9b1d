"""`voice-stack transcribe`: a recording to text, by the running service or by a worker of our own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from asr.formats import FORMATS
from asr.result import TranscriptResult
from asr.service import AsrService
from asr.settings import AsrSettings
from asr.transcript import Segment, TranscribeOptions, VadOptions
from core import errors, logs
from utils import languages
from voice_stack.cli import output as outputs
from voice_stack.cli import runner
from voice_stack.cli.client import answers, key_header, raise_for_error

console = Console(stderr=True)
TIMEOUT = httpx.Timeout(60.0, read=3600.0)


def transcribe(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Recording or video.")],
    output_format: Annotated[str, typer.Option("--format", "-f", help=f"One of {', '.join(FORMATS)}.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; else standard output.")] = None,
    model: Annotated[str | None, typer.Option(help="Model id or alias; without a service also a folder.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the recording; else it is detected.")] = None,
    translate: Annotated[bool, typer.Option("--translate", help="Translate to English.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Add the time of every word.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Do not use a running service.")] = False,
    url: Annotated[str | None, typer.Option(help="Use this service; else ASR_URL when it answers.")] = None,
) -> None:
    """Transcribe a recording.

    Example: voice-stack transcribe film.mkv --format srt -o film.srt
    """
    if output_format not in FORMATS:
        raise errors.UnsupportedFormat(f"unknown format {output_format!r}; use one of {', '.join(FORMATS)}")
    settings: AsrSettings = runner.load_settings("asr")
    logs.setup("WARNING")
    if output:
        outputs.check(output)
    options = TranscribeOptions(
        task="translate" if translate else "transcribe",
        language=_language(language),
        word_timestamps=words,
        vad=VadOptions() if settings.vad_enabled else None,
    )
    file = file.resolve()
    service = None if local else url or (settings.url if answers(settings.url) else None)
    work = (
        _remote(service, file, options, model, settings.api_keys) if service else _local(settings, file, options, model)
    )
    rendered = FORMATS[output_format].render(asyncio.run(work))
    if output:
        with outputs.replacing(output) as written:
            written.write(rendered)
    else:
        sys.stdout.buffer.write(rendered)
        sys.stdout.buffer.flush()


def _language(name: str | None) -> str | None:
    try:
        return languages.parse(name)
    except ValueError as error:
        raise errors.InvalidRequest(str(error), param="language") from error


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


async def _local(settings: AsrSettings, file: Path, options: TranscribeOptions, model: str | None) -> TranscriptResult:
    options = replace(options, language=options.language or _language(settings.language))
    settings, name = runner.with_folder(settings, model)
    service = AsrService(settings)
    try:
        async with service.spool.folder() as folder:
            found = service.host.resolve(name)
            audio = await service.decode(file, folder)
            with _progress() as bar:
                task = bar.add_task("loading", total=audio.duration)
                async with service.transcribe(audio, options, model=found) as transcript:
                    async with aclosing(aiter(transcript)) as segments:
                        async for segment in segments:
                            done = max(segment.end, transcript.seconds_done)
                            bar.update(task, description="transcribing", completed=done)
                    return transcript.result(options.task, words=options.word_timestamps)
    finally:
        await service.close()


async def _remote(
    url: str, file: Path, options: TranscribeOptions, model: str | None, keys: Sequence[str]
) -> TranscriptResult:
    data: dict[str, Any] = {"stream": "true", "task": options.task}
    data |= {"model": model} if model else {}
    data |= {"language": options.language} if options.language else {}
    data |= {"timestamp_granularities[]": ["word", "segment"]} if options.word_timestamps else {}
    try:
        last = await _last_event(url, file, data, keys)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise errors.Unavailable(f"the service at {url} broke off: {str(error) or type(error).__name__}") from error
    if last.get("type") != "transcript.text.done":
        raise errors.Unavailable(str(last.get("error", {}).get("message", "the service ended the answer early")))
    return TranscriptResult(
        task=options.task,
        language=last["language"],
        language_probability=last.get("language_probability") or 0.0,
        duration=last["duration"],
        segments=tuple(TypeAdapter(list[Segment]).validate_python(last["segments"])),
        words=options.word_timestamps,
    )


async def _last_event(url: str, file: Path, data: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the last event of a streamed transcription, which holds all of it, or an error; raise httpx.HTTPError."""
    last: dict[str, Any] = {}
    with _progress() as bar, file.open("rb") as opened:
        task = bar.add_task("transcribing", total=1.0)
        async with (
            httpx.AsyncClient(base_url=url, timeout=TIMEOUT, headers=key_header(keys), trust_env=False) as client,
            client.stream("POST", "/audio/transcriptions", data=data, files={"file": opened}) as response,
        ):
            await raise_for_error(response)
            async for line in response.aiter_lines():
                if line.startswith(": progress "):
                    bar.update(task, completed=float(line.removeprefix(": progress ")))
                elif line.startswith("data: {"):
                    last = orjson.loads(line.removeprefix("data: "))
    return last
