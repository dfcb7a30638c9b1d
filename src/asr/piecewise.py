"""Engines that take audio as it is: piece after piece, each in a turn of its own so that others come in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from asr.engine import AsrEngine
from asr.pieces import Piece
from asr.transcript import LanguageGuess, Segment, TranscribeOptions, in_order, shifted
from asr.windowed import Part, Parts, begun
from core.errors import InternalError


def decode(
    engine: AsrEngine,
    pieces: Iterator[Piece],
    options: TranscribeOptions,
    *,
    turn: Callable[[], AbstractContextManager[None]],
) -> tuple[LanguageGuess, Parts]:
    """Return the language of the first piece that has one, and what the pieces say, segment by segment.

    `turn` waits for the device and holds it. Raises what the engine and `turn` raise.
    """
    return begun(_decoded(engine, pieces, options, turn), options)


def _decoded(
    engine: AsrEngine,
    pieces: Iterator[Piece],
    options: TranscribeOptions,
    turn: Callable[[], AbstractContextManager[None]],
) -> Generator[tuple[LanguageGuess, Part], None, None]:
    for piece in pieces:
        spoken = False
        with turn():
            found = engine.transcribe(piece.audio, options)
            guess = LanguageGuess(found.language, found.language_probability)
            with _closing(found.segments) as segments:
                for segment in in_order(map(_checked, segments), piece.audio.duration):
                    spoken = True
                    yield guess, Part((shifted(segment, segment.id, piece.offset),), piece.offset)
        if not spoken and options.language is None:
            guess = LanguageGuess(None)
        yield guess, Part((), piece.offset + piece.audio.duration)
        options = replace(options, prompt=None)
        if guess.language is not None:
            options = replace(options, language=guess.language, early=False)


def _checked(segment: Segment) -> Segment:
    """Return a segment of an engine. Raises InternalError for a text or times that are none."""
    times = [segment.start, segment.end, *(time for word in segment.words for time in (word.start, word.end))]
    if not (isinstance(segment.text, str) and all(map(math.isfinite, times))):
        raise InternalError("the engine gave a segment whose text is no str or whose times are not finite")
    return segment


@contextmanager
def _closing(segments: Iterator[Segment]) -> Iterator[Iterator[Segment]]:
    """Close the engine's generator at once, and not when it is collected: that is what ends its work."""
    try:
        yield segments
    finally:
        close = getattr(segments, "close", None)
        if close is not None:
            close()
