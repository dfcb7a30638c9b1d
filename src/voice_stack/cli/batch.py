"""`voice-stack batch`: many recordings to text, one after another; run again it goes on where it stopped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from asr.formats import FORMATS, Format
from asr.settings import AsrSettings
from asr.transcript import TranscribeOptions
from core import errors, logs
from voice_stack.cli import output as outputs
from voice_stack.cli import recordings, runner, transcriber
from voice_stack.cli.client import ServiceGone, service_url
from voice_stack.cli.recordings import Recording
from voice_stack.cli.transcribe import (
    WRITTEN,
    Language,
    Local,
    Model,
    Translate,
    Url,
    Words,
    check_format,
    options_of,
)
from voice_stack.cli.transcriber import Transcriber

console = Console(stderr=True, highlight=False)
TRIES = 4
INTERRUPTED = 130
# What is wrong with the request as such is wrong with that of every recording.
_HOPELESS = (
    ServiceGone,
    errors.ConfigurationError,
    errors.Forbidden,
    errors.InsufficientStorage,
    errors.InvalidApiKey,
    errors.ModelNotFound,
    errors.UnsupportedTask,
)


def batch(
    sources: Annotated[
        list[str], typer.Argument(metavar="DIR|GLOB...", help="Folders, searched with all below; patterns; files.")
    ],
    output_format: Annotated[str, typer.Option("--format", "-f", help=f"One of {', '.join(WRITTEN)}.")] = "srt",
    out: Annotated[Path | None, typer.Option(help="Folder to write to; else beside each recording.")] = None,
    model: Model = None,
    language: Language = None,
    translate: Translate = False,
    words: Words = False,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Recordings in the works at once.")] = 1,
    again: Annotated[bool, typer.Option("--again", help="Also what is done already.")] = False,
    local: Local = False,
    url: Url = None,
) -> None:
    """Transcribe many recordings; what is done already is passed over, so that a batch can be stopped at any time.

    Exit status 1 when a recording failed, 130 after Ctrl-C.

    Example: voice-stack batch ~/Films --format srt --out ~/Subtitles
    """
    check_format(output_format)
    written = FORMATS[output_format]
    found = recordings.find(sources, out, written.extension)
    if not found:
        raise errors.InvalidRequest(f"no recording in {' '.join(sources)}")
    settings: AsrSettings = runner.load_settings("asr")
    logs.setup("WARNING")
    options = options_of(settings, language=language, translate=translate, words=words)
    todo = [each for each in found if again or not each.is_done]
    run = _Batch(written, already=len(found) - len(todo), at_once=at_once)
    try:
        if todo:
            asyncio.run(run.work(settings, todo, options, model, service_url(settings.url, local=local, url=url)))
    except KeyboardInterrupt:
        run.say("stopped; the same command goes on from here")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        run.sum_up()
    if run.counts["failed"]:
        raise typer.Exit(1)


class _Batch:
    """One run: its bars, and how the recordings ended."""

    def __init__(self, written: Format, *, already: int, at_once: int) -> None:
        self._written = written
        self._turn = asyncio.Semaphore(at_once)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self._bars = Progress(
            *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
        )
        self.counts = Counter(already=already, done=0, failed=0)

    async def work(
        self,
        settings: AsrSettings,
        todo: Sequence[Recording],
        options: TranscribeOptions,
        model: str | None,
        url: str | None,
    ) -> None:
        """Transcribe; a recording that fails is told and counted, what no recording can survive is raised."""
        with self._bars as bars:
            whole = bars.add_task(f"0 of {len(todo)}", total=len(todo))
            async with transcriber.opened(settings, options, model, url=url) as by:
                tasks = [asyncio.create_task(self._one(each, by)) for each in todo]
                try:
                    for ended, task in enumerate(asyncio.as_completed(tasks), start=1):
                        await task
                        bars.update(whole, completed=ended, description=f"{ended} of {len(todo)}")
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, recording: Recording, by: Transcriber) -> None:
        async with self._turn:
            bar = self._bars.add_task(recording.name, total=1.0)
            try:
                await self._write(recording, by, bar)
            except _HOPELESS:
                raise
            except errors.VoiceStackError as error:
                self._failed(recording, error.message)
            except OSError as error:
                self._failed(recording, error.strerror or str(error))
            else:
                self.counts["done"] += 1
                self.say(f"{recording.name}: {recording.target}")
            finally:
                self._bars.remove_task(bar)

    async def _write(self, recording: Recording, by: Transcriber, bar: TaskID) -> None:
        recording.target.parent.mkdir(parents=True, exist_ok=True)
        outputs.check(recording.target)
        for attempt in count():
            try:
                result = await by.transcribe(recording.source, lambda share: self._bars.update(bar, completed=share))
                break
            except errors.VoiceStackError as error:
                await asyncio.sleep(self._pause(error, attempt))
        with outputs.replacing(recording.target) as file:
            file.write(self._written.render(result))

    def _pause(self, error: errors.VoiceStackError, attempt: int) -> float:
        """Return the seconds until a recording is tried again; raise the error where that would not help."""
        if isinstance(error, errors.QueueFull):
            return error.retry_after or error.retry or 1
        never_there = isinstance(error, ServiceGone) and not self.counts["done"]
        if not error.retry or never_there or attempt + 1 == TRIES:
            raise error
        return (error.retry_after or error.retry) * 2.0**attempt

    def _failed(self, recording: Recording, reason: str) -> None:
        self.counts["failed"] += 1
        self.say(f"{recording.name}: {reason}")

    def say(self, line: str) -> None:
        """Write a line above the bars."""
        self._bars.console.print(line, markup=False, emoji=False, soft_wrap=True)

    def sum_up(self) -> None:
        """Write how the recordings ended."""
        counts = self.counts
        self.say(f"{counts['done']} written, {counts['already']} done before, {counts['failed']} failed")
