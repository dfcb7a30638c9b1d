"""The frames of a streamed transcription: OpenAI's events, as the segments are decoded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from typing import Any

from asr.api.reading import Asked
from asr.attributed import AnyTranscript
from asr.formats import FORMATS, addition, details, diarized_segment, verbose
from asr.result import TranscriptResult
from asr.transcript import Segment
from core import errors
from core.metrics import Metrics
from utils import sse

Segments = AsyncGenerator[Segment | None, None]
ENCODER_POSITIONS = 50
"""Whisper's encoder reads so many a second; they are what `usage` counts as input tokens."""
TOKEN_BYTES = 4
"""UTF-8 bytes of text that stand for an output token of `usage` where the engine tells no tokens."""
TURN_FORMATS = frozenset({"diarized_json", "text", "txt"})
"""Formats whose text has a line for each turn, where it is known who speaks."""


async def frames(
    asked: Asked, transcript: AnyTranscript, first: Segment | None, segments: Segments, metrics: Metrics
) -> AsyncGenerator[bytes, None]:
    """Yield a delta for each segment, the first of which has come already, then what there is to say about them all.

    None among the segments is a long pause: a ping and how much is done. An error ends the stream, and is counted.
    """
    text = _Text(asked)
    try:
        yield _of(first, text, transcript)
        async for segment in segments:
            yield _of(segment, text, transcript)
        yield await asyncio.to_thread(_done, asked.result(transcript), text.said)
    except errors.VoiceStackError as error:
        metrics.count_error(error.code)
        yield _frame({"type": "error", "error": error.to_dict()})
        return
    yield sse.DONE


class _Text:
    """The text that a stream has told, segment by segment."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._parts: list[str] = []
        self._last: Segment | None = None

    @property
    def said(self) -> str:
        """All of it."""
        return "".join(self._parts)

    def events(self, segment: Segment) -> list[dict[str, Any]]:
        """Return what there is to tell of the next segment, nothing for one without text."""
        wanted = self._asked.wanted
        by_turns = wanted.diarizes and wanted.response_format in TURN_FORMATS
        delta = addition(segment, self._last) if by_turns else self._plain(segment)
        if not delta:
            return []
        self._parts.append(delta)
        self._last = segment
        event: dict[str, Any] = {"type": "transcript.text.delta", "delta": delta}
        if wanted.logprobs:
            event["logprobs"] = segment.logprobs
        if not FORMATS[wanted.response_format].needs_speakers:
            return [event]
        whole = diarized_segment(len(self._parts), segment)
        return [{**event, "segment_id": whole["id"]}, {**whole}]

    def _plain(self, segment: Segment) -> str:
        return segment.text if self._parts else segment.text.lstrip()


def _of(segment: Segment | None, text: _Text, transcript: AnyTranscript) -> bytes:
    """Return the frames of a segment."""
    if segment is None:
        return sse.PING + _progress(transcript.share)
    return b"".join(map(_frame, text.events(segment))) + _progress(segment.end / transcript.duration)


def _progress(share: float) -> bytes:
    return sse.comment(f"progress {share:.3f}")


def _done(result: TranscriptResult, text: str) -> bytes:
    """Return the last event; for long audio this takes too long for the event loop."""
    told = sum(len(segment.tokens) for segment in result.segments)
    written = told or math.ceil(len(text.encode()) / TOKEN_BYTES)
    heard = round(result.duration * ENCODER_POSITIONS)
    usage = {"type": "tokens", "input_tokens": heard, "output_tokens": written, "total_tokens": heard + written}
    # Clients with a strict type for `language` are content without one, but not with null.
    extras = {name: value for name, value in verbose(result).items() if value is not None and value != ""}
    return _frame({"type": "transcript.text.done", **extras, "text": text, "usage": usage, **details(result)})


def _frame(data: dict[str, Any]) -> bytes:
    return sse.event(str(data["type"]), data)
