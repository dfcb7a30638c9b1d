"""Long and short requests on one slot of a real worker process: the short ones do not wait for the long ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from asr.service import AsrService, Transcript
from asr.settings import AsrSettings
from asr.transcript import TranscribeOptions
from core import pipe
from core.pipe import Frame
from core.settings import Places
from tests.full_service import stopped
from utils.audio.pcm import PcmFile

RATE = 16_000
VERY_LONG, LONG, SHORT = 900, 300, 2
ENGINES = pytest.mark.parametrize("engine", ["fake", "fake-windows"])


def recording(path: Path, seconds: int) -> PcmFile:
    noise = np.random.default_rng(seconds).normal(0, 3000, seconds * RATE).astype("<i2")
    path.write_bytes(noise.tobytes())
    return PcmFile(path, len(noise), RATE)


@asynccontextmanager
async def service(engine: str, folder: Path, **options: float) -> AsyncIterator[AsrService]:
    places = Places(cache=folder / "cache", state=folder / "state", tmp=folder / "tmp")
    slots = {"slots": 1, "batch_size": 1} if engine == "fake-windows" else {}
    settings = AsrSettings(
        engine=engine, model=engine, preload=False, places=places, workers=1, engine_options={**options, **slots}
    )
    made = AsrService(settings)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def transcribing(made: AsrService, audio: PcmFile) -> AsyncIterator[Transcript]:
    model = made.host.resolve(None)
    async with made.transcribe(audio, TranscribeOptions(vad=None), model=model) as transcript:
        yield transcript


async def first_segment(transcript: Transcript) -> None:
    async for _ in transcript:
        return


@ENGINES
async def test_a_command_is_answered_while_a_film_is_transcribed(engine: str, tmp_path: Path) -> None:
    film, command = recording(tmp_path / "film.s16", VERY_LONG), recording(tmp_path / "command.s16", SHORT)
    # All of the film would take 18 seconds, a piece of it 1.2.
    async with service(engine, tmp_path, delay=0.02) as made, transcribing(made, film) as long:
        begun = asyncio.Event()

        async def watch() -> None:
            async for _ in long:
                begun.set()

        watching = asyncio.create_task(watch())
        await begun.wait()
        async with transcribing(made, command) as short:
            await short.finish()
        assert short.segments
        assert not watching.done()
        assert long.seconds_done < VERY_LONG / 2
        watching.cancel()


@ENGINES
async def test_two_films_take_turns(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [recording(tmp_path / f"{seconds}.s16", seconds) for seconds in (LONG, LONG - 1)]
    told: list[Frame] = []  # in the order in which the worker wrote them, however late we read
    read_frame = pipe.read_frame

    async def watched(reader: asyncio.StreamReader) -> Frame | None:
        frame = await read_frame(reader)
        if frame is not None and frame.kind == "event":
            told.append(frame)
        return frame

    monkeypatch.setattr(pipe, "read_frame", watched)
    async with service(engine, tmp_path, delay=0.005) as made, AsyncExitStack() as stack:
        await made.host.load(made.host.resolve(None))
        with stopped(made.health()["workers"][0]["pid"]):  # so that both begin at the same time
            both = [await stack.enter_async_context(transcribing(made, film)) for film in films]
        await asyncio.gather(*(each.finish() for each in both))
        assert [each.seconds_done for each in both] == [LONG, LONG - 1]
    reached = dict.fromkeys((frame.call for frame in told), 0.0)
    apart = []
    for frame in told:
        if frame.data["name"] == "progress":
            reached[frame.call] = frame.data["data"]["seconds"]
        elif frame.data["name"] == "segment":
            apart.append(reached[frame.call] - min(reached.values()))
    assert len(reached) == 2
    # Pieces of 60 seconds in turn, or windows of 30.
    assert max(apart) < LONG / 2


@ENGINES
async def test_whoever_leaves_makes_room(engine: str, tmp_path: Path) -> None:
    film = recording(tmp_path / "film.s16", LONG)
    short = recording(tmp_path / "short.s16", SHORT)
    async with service(engine, tmp_path, delay=0.001) as made:
        for _ in range(40):  # more than the process takes at once
            async with transcribing(made, film) as transcript:
                await first_segment(transcript)
        async with transcribing(made, short) as transcript:
            await transcript.finish()
            assert transcript.segments
