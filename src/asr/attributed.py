"""Transcripts with speakers: who speaks is found out while the text is, in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from asr.diarization.attribution import Attribution, Attributor, Naming, SpeakersAsked, attribution
from asr.result import TranscriptResult
from asr.service import AsrService, Transcript
from asr.transcript import Segment, Task, TranscribeOptions
from core.model_entry import ModelRef
from utils.audio.pcm import PcmFile

A = TypeVar("A")
B = TypeVar("B")


class AttributedTranscript:
    """A transcript that is being made, with speakers: iterate it for its segments once it is known who speaks when.

    `found` is that. A segment is cut where the speaker changes, which takes the times of its words.
    """

    def __init__(
        self,
        transcript: Transcript,
        find: Callable[[Callable[[float], None]], Coroutine[Any, Any, Attribution]],
        naming: Naming,
    ) -> None:
        self.found = Attribution()
        self.share = 0.0
        """How much is done of finding out who speaks, from 0 to 1; no text is told before."""
        self._transcript = transcript
        self._find = find
        self._naming = naming
        self._segments: list[Segment] = []

    @property
    def duration(self) -> float:
        """Seconds."""
        return self._transcript.duration

    async def __aiter__(self) -> AsyncGenerator[Segment, None]:
        """Yield the segments; raise what either engine raised."""
        async with aclosing(aiter(self._transcript)) as heard:
            # Whatever can be refused by then is refused before the first of them.
            self.found, segment = await together(self._find(self._progress), _waited(anext(heard, None)))
            attributor = Attributor(self.found, self._naming)
            while segment is not None:
                for part in attributor.parts(segment):
                    self._segments.append(part)
                    yield part
                segment = await anext(heard, None)

    async def finish(self) -> None:
        """Wait for the last segment; raise what either engine raised as soon as it has."""
        self.found, _ = await together(self._find(self._progress), self._transcript.finish())
        # Hours of words take too long for the event loop.
        parts = await asyncio.to_thread(self.found.applied, self._transcript.segments, self._naming)
        self._segments = list(parts)

    def result(self, task: Task, **layout: Any) -> TranscriptResult:
        """Return what there is, for the formats; `layout` goes to TranscriptResult as it is."""
        return replace(self._transcript.result(task, **layout), segments=tuple(self._segments), diarized=True)

    def _progress(self, share: float) -> None:
        self.share = share

    def embeddings(self) -> dict[str, tuple[float, ...]]:
        """Return the vector of each speaker's voice, by what the speaker is called; empty for engines without any."""
        labels = self.found.labels(self._naming)
        return {labels[number]: vector for number, vector in sorted(self.found.embeddings.items())}


AnyTranscript: TypeAlias = Transcript | AttributedTranscript


@asynccontextmanager
async def transcribe(
    service: AsrService,
    audio: PcmFile,
    options: TranscribeOptions,
    *,
    model: ModelRef,
    speakers: SpeakersAsked | None,
    naming: Naming,
    sha256: str = "",
    wait: bool = False,
) -> AsyncIterator[AnyTranscript]:
    """Start a transcription as AsrService.transcribe does, and where speakers are asked for their diarization with it.

    The diarization begins once the transcription was let in and the text is waited for; `audio` must stay till then.
    """
    async with service.transcribe(audio, options, model=model, sha256=sha256, wait=wait) as transcript:
        if speakers is None:
            yield transcript
        else:

            def find(on_progress: Callable[[float], None]) -> Coroutine[Any, Any, Attribution]:
                return attribution(service, audio, speakers, sha256=sha256, wait=wait, on_progress=on_progress)

            yield AttributedTranscript(transcript, find, naming)


async def together(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Do both at the same time and return what they return; when one fails, the other is ended and the error raised."""
    one, other = asyncio.create_task(first), asyncio.create_task(second)
    try:
        await asyncio.gather(one, other)
        return one.result(), other.result()
    finally:
        one.cancel()
        other.cancel()
        await asyncio.gather(one, other, return_exceptions=True)


async def _waited(work: Awaitable[A]) -> A:
    return await work
