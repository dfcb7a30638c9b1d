"""Text and speakers made beside each other: what one's failure means for the other, and what a leaving reader ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict

import pytest

from asr.attributed import AttributedTranscript, together
from asr.diarization.attribution import LABELS, Attribution
from asr.diarization.engine import Turn
from asr.service import Transcript
from asr.transcript import Segment
from core.errors import EngineCrashed, NotSupported
from core.worker import Event

FOUND = Attribution(turns=(Turn(0.0, 1.0, 0), Turn(1.0, 2.0, 1)), embeddings={1: (0.5,), 0: (1.0,)})


class Work:
    """Something that takes as long as the test wants, and tells how it ended."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go_on = asyncio.Event()
        self.ended = ""
        self._error = error

    async def find(self, progress: Callable[[float], None]) -> Attribution:
        progress(0.5)
        try:
            await self.go_on.wait()
            if self._error:
                raise self._error
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return FOUND


class Heard:
    """Events of a transcription with a segment per second; it waits for `go_on` before the second one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go_on = asyncio.Event()
        self._error = error

    async def __aiter__(self) -> AsyncIterator[Event]:
        for second in range(2):
            if second:
                await self.go_on.wait()
            if self._error:
                raise self._error
            yield Event("segment", asdict(Segment(start=second, end=second + 1.0, text=f" {second}", id=second)))


def attributed(heard: Heard, work: Work) -> AttributedTranscript:
    return AttributedTranscript(Transcript(events=heard, duration=2.0), work.find, LABELS)


async def test_segments_come_once_the_speakers_are_known_and_not_later() -> None:
    heard, work = Heard(), Work()
    transcript = attributed(heard, work)
    async with aclosing(aiter(transcript)) as segments, asyncio.timeout(10):
        first = asyncio.create_task(anext(segments))
        await asyncio.sleep(0.05)
        assert not first.done()
        assert transcript.share == 0.5
        work.go_on.set()
        # The second one is not there yet.
        assert (await first).speaker == "SPEAKER_00"
        heard.go_on.set()
        assert (await anext(segments)).speaker == "SPEAKER_01"
        with pytest.raises(StopAsyncIteration):
            await anext(segments)
    assert [segment.speaker for segment in transcript.result("transcribe").segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert transcript.duration == 2.0


async def test_finishing_gives_the_same() -> None:
    heard, work = Heard(), Work()
    transcript = attributed(heard, work)
    heard.go_on.set()
    work.go_on.set()
    await transcript.finish()
    result = transcript.result("transcribe", words=True)
    assert [segment.speaker for segment in result.segments] == ["SPEAKER_00", "SPEAKER_01"]
    assert result.words
    assert list(transcript.embeddings().items()) == [("SPEAKER_00", (1.0,)), ("SPEAKER_01", (0.5,))]


async def test_a_diarization_that_fails_ends_the_waiting_for_the_text() -> None:
    heard, work = Heard(), Work(NotSupported("no"))
    work.go_on.set()
    with pytest.raises(NotSupported):
        await asyncio.wait_for(attributed(heard, work).finish(), 10)


async def test_a_transcription_that_fails_ends_the_diarization() -> None:
    work = Work()
    with pytest.raises(EngineCrashed):
        await asyncio.wait_for(attributed(Heard(EngineCrashed("gone")), work).finish(), 10)
    assert work.ended == "cancelled"


async def test_a_stream_that_fails_before_its_first_segment_does_not_wait_for_the_speakers() -> None:
    work = Work()
    segments = aiter(attributed(Heard(EngineCrashed("gone")), work))
    with pytest.raises(EngineCrashed):
        await asyncio.wait_for(anext(segments), 10)
    assert work.ended == "cancelled"


async def test_a_reader_that_leaves_ends_the_diarization() -> None:
    heard, work = Heard(), Work()
    reading = asyncio.create_task(attributed(heard, work).finish())
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert work.ended == "cancelled"


async def test_both_results_come_in_order() -> None:
    async def after(seconds: float, value: str) -> str:
        await asyncio.sleep(seconds)
        return value

    assert await together(after(0.02, "one"), after(0, "other")) == ("one", "other")
