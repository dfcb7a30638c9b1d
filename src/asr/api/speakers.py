"""Recordings of known speakers inside a request: checked like any other audio, before there is anything to use them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from asr.service import AsrService
from core import errors
from core.spool import storage_error
from utils.data_url import encoded_file

PARAM: Final = "known_speaker_references"
MIN_SECONDS, MAX_SECONDS = 1.0, 30.0


async def check_references(service: AsrService, references: tuple[str, ...], folder: Path) -> None:
    """Decode each data URL into `folder`. Raises InvalidAudio for what is no audio of 1 to 30 seconds."""
    for index, reference in enumerate(references):
        place = folder / f"reference-{index}"
        try:
            upload = await asyncio.to_thread(_written, reference, place)
            audio = await service.decode(upload, place)
        except (ValueError, errors.InvalidRequest, errors.AudioTooLong) as error:
            raise errors.InvalidAudio(f"{PARAM}[{index}]: {error}", param=PARAM) from error
        except OSError as error:
            raise storage_error(error) from error
        if not MIN_SECONDS <= audio.duration <= MAX_SECONDS:
            raise errors.InvalidAudio(
                f"{PARAM}[{index}] lasts {audio.duration:.1f} s; it may be {MIN_SECONDS:.0f} to {MAX_SECONDS:.0f} s",
                param=PARAM,
            )


def _written(reference: str, place: Path) -> Path:
    place.mkdir()
    path = place / "upload"
    with path.open("wb") as file:
        file.writelines(encoded_file(reference).pieces())
    return path
