"""An answer's encoder and what feeds it, without a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from core.errors import EngineCrashed
from core.model_entry import ModelRef
from core.worker import Event
from tts.backlog import backlog
from tts.encoded import EncodedSpeech
from tts.speech import Delivery, Speech, Utterance
from tts.voice import SpeechOptions, Voice
from utils.audio.encode import FORMATS, Encoder

pytestmark = pytest.mark.anyio
RATE = 24_000
SECOND = bytes(2 * RATE)


async def breaking_off() -> AsyncGenerator[Event, None]:
    yield Event("audio", {"piece": 0, "text": "Hello."}, SECOND)
    raise EngineCrashed("gone")


async def read_all(encoded: EncodedSpeech) -> None:
    await encoded.start()
    async with aclosing(encoded.chunks()) as chunks:
        async for _ in chunks:
            pass


@pytest.mark.parametrize("name", ["wav", "flac", "mp3"])
@pytest.mark.parametrize("frames", [None, 5 * RATE])
async def test_speech_that_breaks_off_ends_the_answer(name: str, frames: int | None, tmp_path: Path) -> None:
    stopped = asyncio.Event()
    speech = Speech(
        events=breaking_off(), stop=stopped.set, sample_rate=RATE, tempo=1.0, short=True, words=[], alignment=None
    )
    utterance = Utterance(
        text="Hello.",
        voice=Voice(id="v", name="v"),
        model=ModelRef(id="m", task="text-to-speech", engine="fake"),
        options=SpeechOptions(),
        delivery=Delivery(response_format=name),
    )
    encoder = await Encoder.open(FORMATS[name], sample_rate=RATE, total_frames=frames)
    async with backlog(speech.pcm(), tmp_path) as samples:
        encoded = EncodedSpeech(speech, encoder, samples, utterance, frames=frames)
        try:
            async with asyncio.timeout(20):
                with pytest.raises(EngineCrashed):
                    await read_all(encoded)
        finally:
            await encoded.close()
    assert stopped.is_set()
