"""What a transcription request says of its speakers: checked before any work, recordings of known voices included."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from asr.api.schemas import TranscriptionRequest
from asr.diarization.attribution import SpeakersAsked
from asr.diarization.known import PARAM, voices
from asr.service import AsrService
from core import errors
from core.auth import check_closed
from core.disconnect import Receive, until_disconnect
from core.model_entry import ModelRef
from core.spool import storage_error
from utils.audio.pcm import PcmFile
from utils.data_url import encoded_file, is_url

MIN_SECONDS: Final = 1.0
MAX_SECONDS: Final = 30.0


async def read_speakers(
    service: AsrService, wanted: TranscriptionRequest, folder: Path, receive: Receive
) -> SpeakersAsked | None:
    """Return what a request wants to know of its speakers, None where it does not ask who speaks.

    References are decoded into `folder` and checked either way; `receive` tells when the client leaves meanwhile.
    Raises UnsupportedFormat without a diarization model, InvalidRequest for what the model cannot be told, InvalidAudio
    for a reference that is none or has too little speech, NotSupported where the engine knows no voices, and what
    `check_people` raises.
    """
    if wanted.identify_speakers and not wanted.diarizes:
        raise errors.InvalidRequest("identify_speakers takes diarize=true", param="identify_speakers")
    model = _model(service, wanted) if wanted.diarizes else None
    if model is not None:
        service.diarizer.check(wanted.diarization, model)
        if wanted.known_speaker_references:
            service.diarizer.check_encodes(model, param=PARAM)
        if wanted.identify_speakers:
            await until_disconnect(receive, check_people(service, model))
    references = await until_disconnect(receive, read_references(service, wanted.known_speaker_references, folder))
    if model is None:
        return None
    named = list(zip(wanted.known_speaker_names, references, strict=True))
    known = await until_disconnect(receive, voices(service.diarizer, named, model)) if named else ()
    return SpeakersAsked(
        model=model.id,
        channels=service.diarizer.channels(model),
        options=wanted.diarization,
        known=known,
        identify=wanted.identify_speakers,
    )


def _model(service: AsrService, wanted: TranscriptionRequest) -> ModelRef:
    try:
        return service.diarizer.resolve(None)
    except errors.NotSupported as error:
        param = "diarize" if wanted.diarize else "response_format"
        raise errors.UnsupportedFormat(error.message, param=param) from error


async def check_people(service: AsrService, model: ModelRef) -> None:
    """Raise why registered people are not to be recognised, or cannot be, by a diarization model.

    That is VoiceprintsDisabled, Forbidden, NotSupported, InvalidRequest, and what loading the model raises.
    """
    service.people.check()
    check_closed(service.settings, "nobody is recognised")
    service.diarizer.check_encodes(model, param="identify_speakers")
    await service.people.run(service.people.names, {}, await service.diarizer.facts(model))


async def read_references(service: AsrService, references: tuple[str, ...], folder: Path) -> list[PcmFile]:
    """Decode each data URL into `folder`. Raises InvalidAudio for what is no audio of 1 to 30 seconds."""
    return [await _decoded(service, index, text, folder) for index, text in enumerate(references)]


async def _decoded(service: AsrService, index: int, reference: str, folder: Path) -> PcmFile:
    place = folder / f"reference-{index}"
    try:
        upload = await asyncio.to_thread(_written, reference, place)
        audio = await service.decode(upload, place, head_seconds=MAX_SECONDS + 1)
    except (ValueError, errors.InvalidRequest, errors.AudioTooLong) as error:
        raise errors.InvalidAudio(f"{PARAM}[{index}]: {error}", param=PARAM) from error
    except OSError as error:
        raise storage_error(error) from error
    if not MIN_SECONDS <= audio.duration <= MAX_SECONDS:
        # Of a long one no more than its beginning was decoded.
        lasts = f"{audio.duration:.2f} s" if audio.duration < MIN_SECONDS else f"more than {MAX_SECONDS:.0f} s"
        raise errors.InvalidAudio(
            f"{PARAM}[{index}] lasts {lasts}; it may be {MIN_SECONDS:.0f} to {MAX_SECONDS:.0f} s",
            param=PARAM,
        )
    return audio


def _written(reference: str, place: Path) -> Path:
    """Write the file that a reference holds. Raises ValueError, with a message fit for a client."""
    if is_url(reference):
        raise ValueError("it is a URL, and URLs are not fetched; send the recording itself as base64 or a data URL")
    place.mkdir()
    path = place / "upload"
    with path.open("wb") as file:
        file.writelines(encoded_file(reference).pieces())
    return path
