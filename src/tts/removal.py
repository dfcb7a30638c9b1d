"""Deleting a voice with all that was made of its recording: its files, what workers remember, what engines kept."""

from __future__ import annotations

import asyncio

from tts import traces
from tts.library import Library
from tts.service import TtsService
from tts.voice import Voice


async def remove(service: TtsService, library: Library, key: str) -> Voice:
    """Delete the voice with this id or name; return what it was. Raises what Library.delete raises."""
    voice = await asyncio.to_thread(library.find, key)
    recording = await asyncio.to_thread(traces.hash_of, voice)
    gone = await asyncio.to_thread(library.delete, voice.id)
    # A worker that is just reading the recording has done so when this returns, and cannot read it again.
    await service.forget(gone)
    await asyncio.to_thread(traces.remove, service.settings.engine_cache, recording)
    return gone
