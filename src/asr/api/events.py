"""The frames of a streamed transcription: OpenAI's events, as the segments are decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from asr.api.reading import Asked
from asr.formats import details, verbose
from asr.result import TranscriptResult
from asr.service import Transcript
from asr.transcript import Segment
from core import errors
from core.metrics import Metrics
from utils import sse

Segments = AsyncGenerator[Segment | None, None]
ENCODER_POSITIONS = 50
"""Whisper's encoder reads so many a second; they are what `usage` counts as input tokens."""


async def frames(
    asked: Asked, transcript: Transcript, first: Segment | None, segments: Segments, metrics: Metrics
) -> AsyncGenerator[bytes, None]:
    """Yield a delta for each segment, the first of which has come already, then what there is to say about them all.

    None among the segments is a long pause, and a ping. An error ends the stream, and is counted.
    """
    said: list[str] = []
    try:
        yield _of(first, said, asked, transcript)
        async for segment in segments:
            yield _of(segment, said, asked, transcript)
        yield await asyncio.to_thread(_done, asked.result(transcript), "".join(said))
    except errors.VoiceStackError as error:
        metrics.count_error(error.code)
        yield _frame({"type": "error", "error": error.to_dict()})
        return
    yield sse.DONE


def _of(segment: Segment | None, said: list[str], asked: Asked, transcript: Transcript) -> bytes:
    """Return the frames of a segment; what it adds to the text goes into `said`."""
    if segment is None:
        return sse.PING
    progress = sse.comment(f"progress {segment.end / transcript.duration:.3f}")
    delta = segment.text if said else segment.text.lstrip()
    if not delta:
        return progress
    said.append(delta)
    event: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
    if asked.wanted.logprobs:
        event["logprobs"] = segment.logprobs
    return _frame(event) + progress


def _done(result: TranscriptResult, text: str) -> bytes:
    """Return the last event; for long audio this takes too long for the event loop."""
    written = sum(len(segment.tokens) for segment in result.segments)
    heard = round(result.duration * ENCODER_POSITIONS)
    usage = {"type": "tokens", "input_tokens": heard, "output_tokens": written, "total_tokens": heard + written}
    # Clients with a strict type for `language` are content without one, but not with null.
    extras = {name: value for name, value in verbose(result).items() if value is not None and value != ""}
    return _frame({"type": "transcript.text.done", **extras, "text": text, "usage": usage, **details(result)})


def _frame(data: dict[str, Any]) -> bytes:
    return sse.event(str(data["type"]), data)
