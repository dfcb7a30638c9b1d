"""Long audio as pieces that fit into memory, cut where nobody speaks. Knows nothing of engines or text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from utils.audio.pcm import Audio, PcmFile, Samples
from utils.audio.resample import Resampler

MAX_SECONDS = 600.0
"""Longest file that is one piece. It costs a worker with Whisper base about 250 MB above what it needs when idle."""
PIECE_SECONDS = 420.0
"""Longest piece of a longer file."""
SEARCH_SECONDS = 30.0
"""The cut is looked for in this much audio at the end of a full piece."""
CHUNK_SECONDS = 60.0
"""Longest chunk of a job, whose text is kept as soon as it is there: this much is done again after a crash."""
CHUNK_SEARCH_SECONDS = 15.0
"""A chunk is cut in this much audio at its end."""
_BLOCK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a file: where it starts, in seconds, and its samples at the rate that was asked for."""

    offset: float
    audio: Audio


def pieces(
    pcm: PcmFile,
    *,
    sample_rate: int,
    find_silence: Callable[[Audio], float],
    max_seconds: float = MAX_SECONDS,
    search_seconds: float = SEARCH_SECONDS,
) -> Iterator[Piece]:
    """Yield the file as pieces of at most `max_seconds`, mono at `sample_rate` Hz; every frame is in exactly one.

    A file of at most `max_seconds` is one piece, an empty file none. `find_silence` gets the last `search_seconds` of
    a full piece and returns the second, counted from there, at which to cut.
    """
    longest = max_seconds if pcm.duration <= max_seconds else min(max_seconds, PIECE_SECONDS)
    cut = partial(
        end_of_piece, sample_rate=sample_rate, find_silence=find_silence, seconds=longest, search_seconds=search_seconds
    )
    start = 0
    while start < pcm.frames:
        stop = cut(pcm, start)
        yield Piece(start / pcm.sample_rate, read_audio(pcm, start, stop, sample_rate))
        start = stop


def end_of_piece(
    pcm: PcmFile,
    start: int,
    *,
    sample_rate: int,
    find_silence: Callable[[Audio], float],
    seconds: float,
    search_seconds: float,
) -> int:
    """Return the frame at which the piece of at most `seconds` ends that begins at frame `start`.

    Reads no more than the last `search_seconds` of it, which `find_silence` gets at `sample_rate` Hz.
    """
    limit = start + round(seconds * pcm.sample_rate)
    if limit >= pcm.frames:
        return pcm.frames
    first = max(limit - round(search_seconds * pcm.sample_rate), start + 1)
    found = find_silence(read_audio(pcm, first, limit, sample_rate))
    return min(max(first + round(found * pcm.sample_rate), first), limit)


def read_audio(pcm: PcmFile, start: int, stop: int, sample_rate: int) -> Audio:
    """Return frames [start, stop) of a file as mono audio at `sample_rate` Hz.

    Block by block: the source may be ten times as large as what comes out.
    """
    resampler = Resampler(pcm.sample_rate, sample_rate)
    step = round(_BLOCK_SECONDS * pcm.sample_rate)
    parts: list[Samples] = [np.zeros(0, dtype=np.float32)]
    parts += [
        resampler.feed(pcm.read(at, min(at + step, stop)), last=at + step >= stop) for at in range(start, stop, step)
    ]
    return Audio(np.concatenate(parts), sample_rate)
