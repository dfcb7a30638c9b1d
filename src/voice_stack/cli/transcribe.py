"""`voice-stack transcribe`: a recording to text, by the running service or by a worker of our own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from asr.formats import FORMATS
from asr.result import TranscriptResult
from asr.settings import AsrSettings
from asr.transcript import TranscribeOptions, VadOptions
from core import errors, logs
from voice_stack.cli import job, runner, transcriber
from voice_stack.cli import output as outputs
from voice_stack.cli.client import service_url

console = Console(stderr=True)
WRITTEN = tuple(name for name, form in FORMATS.items() if not form.needs_speakers)
"""The formats of text without speakers, which is what the commands make."""

Model = Annotated[str | None, typer.Option(help="Model id or alias; without a service also a path.")]
Language = Annotated[str | None, typer.Option(help="Language of the recording; else it is detected.")]
Translate = Annotated[bool, typer.Option("--translate", help="Translate to English.")]
Words = Annotated[bool, typer.Option("--words", help="Add the time of every word.")]
Local = Annotated[bool, typer.Option("--local", help="Do not use a running service.")]
Url = Annotated[str | None, typer.Option(help="Use this service; else ASR_URL when it answers.")]


def transcribe(
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, readable=True, help="Recording or video.")
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option("--format", "-f", help=f"One of {', '.join(WRITTEN)}; else by the file's suffix; else text."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; its suffix is the format; else standard output."),
    ] = None,
    model: Model = None,
    language: Language = None,
    translate: Translate = False,
    words: Words = False,
    local: Local = False,
    url: Url = None,
    as_job: Annotated[bool, typer.Option("--job", help="As a job, which the service finishes without us.")] = False,
    job_id: Annotated[str | None, typer.Option(help="Go on with this job instead of a recording.")] = None,
) -> None:
    """Transcribe a recording.

    With --job the service keeps the recording and works on it whatever happens here: Ctrl-C, a closed terminal or a
    restart of the service. --job-id fetches such a job later.

    Example: voice-stack transcribe film.mkv -o film.srt
    """
    if (file is None) != (job_id is not None):
        raise errors.InvalidRequest("name either a recording or a --job-id")
    chosen = output_format or format_of(output)
    check_format(chosen)
    settings: AsrSettings = runner.load_settings("asr")
    logs.setup("WARNING")
    if output:
        outputs.check(output)
    options = options_of(settings, language=language, translate=translate, words=words)
    if as_job or job_id is not None:
        if local:
            raise errors.InvalidRequest("a job needs a running service: --job and --local exclude each other")
        errand = _errand(file, job_id, transcriber.fields(options, model), chosen, output, url)
        write(job.run(settings, url or settings.url, errand, progress_bar()), output)
        return
    service = service_url(settings.url, local=local, url=url)
    assert file is not None  # noqa: S101 - checked above
    result = asyncio.run(_transcribe(settings, file.resolve(), options, model, service))
    write(FORMATS[chosen].render(result), output)


def _errand(
    file: Path | None,
    job_id: str | None,
    data: dict[str, Any],
    output_format: str,
    output: Path | None,
    url: str | None,
) -> job.Errand:
    words = data.get("timestamp_granularities[]")
    look = {"response_format": output_format, **({"timestamp_granularities[]": words} if words else {})}
    again = ["--format", output_format]
    again += ["--words"] if words else []
    again += ["-o", str(output)] if output else []
    again += ["--url", url] if url else []
    return job.Errand(file=file, job_id=job_id, data={**data, **look}, look=look, again=tuple(again))


def format_of(output: Path | None) -> str:
    """Return the format that a file's suffix stands for; text without a file, and for a suffix nobody knows."""
    suffix = output.suffix.lstrip(".").lower() if output else ""
    return suffix if suffix in FORMATS else "text"


def check_format(name: str) -> None:
    """Raise UnsupportedFormat for a format there is not, or that nobody writes here."""
    if name not in FORMATS:
        raise errors.UnsupportedFormat(f"unknown format {name!r}; use one of {', '.join(WRITTEN)}")
    if name not in WRITTEN:
        raise errors.UnsupportedFormat(f"{name} tells who speaks, which this command does not; ask the service for it")


def options_of(settings: AsrSettings, *, language: str | None, translate: bool, words: bool) -> TranscribeOptions:
    """Return what the command's options ask for; InvalidRequest for an unknown language."""
    return TranscribeOptions(
        task="translate" if translate else "transcribe",
        language=transcriber.language(language),
        word_timestamps=words,
        vad=VadOptions() if settings.vad_enabled else None,
    )


def write(rendered: bytes, output: Path | None) -> None:
    """Write to a file, which is replaced as a whole, or to standard output."""
    if output:
        with outputs.replacing(output) as written:
            written.write(rendered)
    else:
        sys.stdout.buffer.write(rendered)
        sys.stdout.buffer.flush()


def progress_bar() -> Progress:
    """Return a bar on standard error that vanishes when it is done."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal)


async def _transcribe(
    settings: AsrSettings, file: Path, options: TranscribeOptions, model: str | None, url: str | None
) -> TranscriptResult:
    with progress_bar() as bar:
        task = bar.add_task("transcribing", total=1.0)
        async with transcriber.opened(settings, options, model, url=url) as work:
            return await work.transcribe(file, lambda share: bar.update(task, completed=share))
