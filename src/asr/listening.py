"""From a recording of one person to the vector of their voice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from asr.diarization.engine import Voiceprint
from asr.service import AsrService
from core import errors
from core.model_entry import ModelRef

MAX_SECONDS: Final = 300.0
"""A voice is known long before; more would only keep the encoder busy."""


async def listen(
    service: AsrService, recording: Path, folder: Path, *, model: ModelRef, raw_rate: int | None = None
) -> Voiceprint:
    """Return the vector of the voice in a file, which is decoded into the existing `folder`; `raw_rate` as in `decode`.

    Raises what AsrService.decode and Diarizer.embed raise, AudioTooLong also for more than MAX_SECONDS.
    """
    audio = await service.decode(recording, folder, raw_rate=raw_rate, head_seconds=MAX_SECONDS + 1)
    if audio.duration > MAX_SECONDS:
        raise errors.AudioTooLong(f"a recording of a voice may last at most {MAX_SECONDS:.0f} s", param="file")
    return await service.diarizer.embed(audio, model=model)


def is_unsure(voice: Voiceprint) -> bool:
    """Return whether there was too little speech for a vector to rely on."""
    return voice.seconds < voice.facts.sure_seconds
