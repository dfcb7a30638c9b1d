"""Diarizing files for the command line: by a running service, or by a worker of our own without HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from asr.diarization.answer import diarization_object, shown_names
from asr.diarization.engine import DiarizeOptions
from asr.service import AsrService
from asr.settings import AsrSettings
from voice_stack.cli import runner
from voice_stack.cli.client import gone, raise_for_error
from voice_stack.cli.transcriber import service_client

_PATH = "/audio/diarization"


async def by_service(
    url: str, settings: AsrSettings, file: Path, options: DiarizeOptions, model: str | None
) -> dict[str, Any]:
    """Return the verbose answer of the service at `url`; ServiceGone when the connection fails."""
    try:
        async with service_client(url, settings) as client:
            with file.open("rb") as recording:
                response = await client.post(_PATH, data=fields(options, model), files={"file": recording})
            await raise_for_error(response)
            answer: dict[str, Any] = response.json()
            return answer
    except httpx.HTTPError as error:
        raise gone(url, error) from error


def fields(options: DiarizeOptions, model: str | None) -> dict[str, Any]:
    """Return the form that asks a service for the same."""
    given: dict[str, Any] = {
        "model": model,
        "num_speakers": options.num_speakers,
        "min_speakers": options.min_speakers,
        "max_speakers": options.max_speakers,
        "clustering_threshold": options.threshold,
        "min_duration_on": options.min_on,
        "min_duration_off": options.min_off,
    }
    return {"response_format": "verbose_json", **{key: value for key, value in given.items() if value is not None}}


async def by_worker(
    settings: AsrSettings, file: Path, options: DiarizeOptions, model: str | None, moved: Callable[[float], None]
) -> dict[str, Any]:
    """Return what a service would answer, made in a worker of our own; `moved` is told the share that is done."""
    quiet = settings.model_copy(update={"log_level": "WARNING"})
    settings, name = runner.with_folder(quiet, model, setting="diarization_model")
    service = AsrService(settings)
    try:
        chosen = service.diarizer.resolve(name)
        service.diarizer.check(options, chosen)
        async with service.spool.folder() as folder:
            audio = await service.decode(file, folder, channels=service.diarizer.channels(chosen))
            found = await service.diarizer.diarize(audio, options, model=chosen, on_progress=moved)
        return diarization_object(found, duration=audio.duration, names=shown_names(found, {}), verbose=True)
    finally:
        await service.close()
