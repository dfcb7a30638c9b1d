"""Transcribing files for the command line: by a running service, or by a worker of our own without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import httpx
import orjson
from pydantic import TypeAdapter

from asr.result import TranscriptResult
from asr.service import AsrService
from asr.settings import AsrSettings
from asr.transcript import Segment, TranscribeOptions
from core import errors
from core.model_entry import ModelRef
from utils import languages
from voice_stack.cli import runner
from voice_stack.cli.client import gone, key_header, raise_for_error, told_error

TIMEOUT = httpx.Timeout(60.0, read=3600.0)
_SEGMENTS = TypeAdapter(list[Segment])

Moved = Callable[[float], None]
"""Told how much of a recording is done, 0 to 1."""


class Transcriber(Protocol):
    """Whoever turns a recording into a transcript."""

    async def transcribe(self, file: Path, moved: Moved) -> TranscriptResult:
        """Return the transcript of one recording; VoiceStackError says why there is none."""


@asynccontextmanager
async def opened(
    settings: AsrSettings, options: TranscribeOptions, model: str | None, *, url: str | None
) -> AsyncIterator[Transcriber]:
    """Yield the service at `url` as a transcriber, or without a `url` a worker of our own, which ends with it."""
    if url:
        async with service_client(url, settings) as client:
            yield ByService(client, options, model)
        return
    settings, name = runner.with_folder(settings.model_copy(update={"log_level": "WARNING"}), model)
    # A service has its own ASR_LANGUAGE.
    options = replace(options, language=options.language or language(settings.language))
    service = AsrService(settings)
    try:
        yield ByWorker(service, options, service.host.resolve(name))
    finally:
        await service.close()


def service_client(url: str, settings: AsrSettings) -> httpx.AsyncClient:
    """Return a client for the service at `url`; ServiceGone for something that is no address."""
    try:
        return httpx.AsyncClient(base_url=url, timeout=TIMEOUT, headers=key_header(settings.api_keys), trust_env=False)
    except httpx.InvalidURL as error:
        raise gone(url, error) from error


def fields(options: TranscribeOptions, model: str | None) -> dict[str, Any]:
    """Return the form that asks a service for the same."""
    data: dict[str, Any] = {"task": options.task}
    data |= {"model": model} if model else {}
    data |= {"language": options.language} if options.language else {}
    data |= {"timestamp_granularities[]": ["word", "segment"]} if options.word_timestamps else {}
    return data


@dataclass(frozen=True, slots=True)
class ByWorker:
    """A worker process of this command's own; the model is loaded once for all files."""

    service: AsrService
    options: TranscribeOptions
    model: ModelRef

    async def transcribe(self, file: Path, moved: Moved) -> TranscriptResult:
        """Return the transcript of one recording."""
        async with self.service.spool.folder() as folder:
            audio = await self.service.decode(file, folder)
            async with self.service.transcribe(audio, self.options, model=self.model) as transcript:
                async with aclosing(aiter(transcript)) as segments:
                    async for segment in segments:
                        moved(max(segment.end, transcript.seconds_done) / audio.duration)
                return transcript.result(self.options.task, words=self.options.word_timestamps)


@dataclass(frozen=True, slots=True)
class ByService:
    """A running service, asked for a stream, whose last event holds everything."""

    client: httpx.AsyncClient
    options: TranscribeOptions
    model: str | None

    async def transcribe(self, file: Path, moved: Moved) -> TranscriptResult:
        """Return the transcript of one recording; ServiceGone when the connection fails."""
        try:
            last = await self._last_event(file, moved)
        except httpx.HTTPError as error:
            raise gone(str(self.client.base_url).rstrip("/"), error) from error
        if last.get("type") != "transcript.text.done":
            raise told_error(last.get("error"), otherwise=errors.Unavailable("the service ended the answer early"))
        spoken = [each["code"] for each in last.get("languages") or ()]
        return TranscriptResult(
            task=self.options.task,
            language=spoken[0] if spoken else None,
            language_probability=last.get("language_probability") or 0.0,
            duration=last["duration"],
            segments=tuple(_SEGMENTS.validate_python(last["segments"])),
            words=self.options.word_timestamps,
        )

    async def _last_event(self, file: Path, moved: Moved) -> dict[str, Any]:
        data = {"stream": "true", **fields(self.options, self.model)}
        last: dict[str, Any] = {}
        with file.open("rb") as recording:
            async with self.client.stream(
                "POST", "/audio/transcriptions", data=data, files={"file": recording}
            ) as response:
                await raise_for_error(response)
                async for line in response.aiter_lines():
                    if line.startswith(": progress "):
                        moved(float(line.removeprefix(": progress ")))
                    elif line.startswith("data: {"):
                        last = orjson.loads(line.removeprefix("data: "))
        return last


def language(name: str | None) -> str | None:
    """Return the code of a language the user named; InvalidRequest for one nobody knows."""
    try:
        return languages.parse(name)
    except ValueError as error:
        raise errors.InvalidRequest(str(error), param="language") from error
