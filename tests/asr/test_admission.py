"""How many requests a process works on: films among themselves, and short recordings beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from asr.pieces import EXPRESS_SECONDS
from asr.service import CALLS, SHORT_CALLS, AsrService
from asr.settings import AsrSettings
from asr.transcript import TranscribeOptions
from asr.windows import WindowOptions
from core import errors
from core.settings import Places
from utils.audio.pcm import PcmFile

RATE = 16_000
SHORT, LONG = int(EXPRESS_SECONDS), int(EXPRESS_SECONDS) + 1
OPTIONS = TranscribeOptions(vad=None)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[AsrService]:
    """A service where one request of each kind may wait, and each takes as long as its client stays."""
    places = Places(cache=tmp_path / "cache", state=tmp_path / "state", tmp=tmp_path / "tmp")
    options = {"delay": 10.0, "segment_seconds": 0.05}
    settings = AsrSettings(
        engine="fake",
        model="fake",
        preload=False,
        places=places,
        workers=CALLS + SHORT_CALLS,
        max_waiting=1,
        engine_options=options,
    )
    made = AsrService(settings)
    yield made
    await made.close()


def recording(folder: Path, seconds: int) -> PcmFile:
    path = folder / f"{seconds}.s16"
    path.write_bytes(np.full(seconds * RATE, 1000, "<i2").tobytes())
    return PcmFile(path, seconds * RATE, RATE)


def counted(service: AsrService) -> tuple[int, int]:
    workers = service.health()["workers"]
    return sum(each["calls"] for each in workers), sum(each["waiting"] for each in workers)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def transcribed(service: AsrService, audio: PcmFile, *, wait: bool = False) -> None:
    model = service.host.resolve(None)
    async with service.transcribe(audio, OPTIONS, model=model, wait=wait) as transcript:
        await transcript.finish()


@asynccontextmanager
async def filled(service: AsrService, audio: PcmFile, count: int) -> AsyncIterator[None]:
    """Keep `count` requests running and one waiting."""
    await service.host.load(service.host.resolve(None))
    before = counted(service)[0]
    sent = [asyncio.create_task(transcribed(service, audio)) for _ in range(count)]
    try:
        await until(lambda: counted(service) == (before + count, 0))
        sent.append(asyncio.create_task(transcribed(service, audio)))
        await until(lambda: counted(service) == (before + count, 1))
        yield
    finally:
        for each in sent:
            each.cancel()
        await asyncio.gather(*sent, return_exceptions=True)


async def test_a_short_recording_and_a_detection_do_not_wait_for_films(service: AsrService, tmp_path: Path) -> None:
    film, command = recording(tmp_path, LONG), recording(tmp_path, SHORT)
    async with filled(service, film, CALLS):
        with pytest.raises(errors.QueueFull):
            await transcribed(service, film)
        model = service.host.resolve(None)
        async with service.transcribe(command, OPTIONS, model=model) as transcript:
            async for segment in transcript:
                assert segment.text
                break
        assert (await service.detect_language(command, WindowOptions(), model=model)).language == "en"
        assert counted(service)[1] == 1


async def test_short_recordings_are_refused_too_and_detections_never(service: AsrService, tmp_path: Path) -> None:
    command = recording(tmp_path, SHORT)
    model = service.host.resolve(None)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(filled(service, command, SHORT_CALLS))
        with pytest.raises(errors.QueueFull):
            await transcribed(service, command)
        detecting = asyncio.create_task(service.detect_language(command, WindowOptions(), model=model))
        patient = asyncio.create_task(transcribed(service, command, wait=True))
        await until(lambda: counted(service)[1] == 3)
        assert not detecting.done()
        await stack.aclose()
        assert (await detecting).language == "en"
        patient.cancel()
