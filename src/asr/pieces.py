"""Audio files read bit by bit: in blocks, or in pieces cut where nobody speaks. Knows nothing of engines or text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from utils.audio.amplify import BLOCK_SECONDS as LEVEL_SECONDS
from utils.audio.amplify import gain
from utils.audio.pcm import Audio, PcmFile, Samples
from utils.audio.resample import Resampler

PIECE_SECONDS = 60.0
"""Longest piece. An engine that cannot be given windows works so long before others have their turn, and a job does so
much again after a crash."""
SEARCH_SECONDS = 15.0
"""A piece is cut in this much audio at its end."""
EXPRESS_SECONDS = 30.0
"""Audio up to this long does not wait behind longer audio."""
_BLOCK_SECONDS = 10.0


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
    seconds: float = PIECE_SECONDS,
    search_seconds: float = SEARCH_SECONDS,
) -> Iterator[Piece]:
    """Yield the file as pieces of at most `seconds`, mono at `sample_rate` Hz; every frame is in exactly one.

    An empty file has none. For the rest see `end_of_piece`.
    """
    start = 0
    while start < pcm.frames:
        stop = end_of_piece(
            pcm,
            start,
            sample_rate=sample_rate,
            find_silence=find_silence,
            seconds=seconds,
            search_seconds=search_seconds,
        )
        yield Piece(start / pcm.sample_rate, read_audio(pcm, start, stop, sample_rate))
        start = stop


def end_of_piece(
    pcm: PcmFile,
    start: int,
    *,
    sample_rate: int,
    find_silence: Callable[[Audio], float],
    seconds: float = PIECE_SECONDS,
    search_seconds: float = SEARCH_SECONDS,
) -> int:
    """Return the frame at which the piece of at most `seconds` ends that begins at frame `start`.

    Reads no more than the last `search_seconds` of a full piece, which `find_silence` gets at `sample_rate` Hz; it
    returns the second, counted from there, at which to cut.
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
    parts = [np.zeros(0, dtype=np.float32), *read_blocks(pcm, sample_rate, start=start, stop=stop)]
    return Audio(np.concatenate(parts), sample_rate)


def read_blocks(pcm: PcmFile, sample_rate: int, *, start: int = 0, stop: int | None = None) -> Iterator[Samples]:
    """Yield frames [start, stop) of a file as mono samples at `sample_rate` Hz, about ten seconds at a time."""
    resampler = Resampler(pcm.sample_rate, sample_rate)
    stop = pcm.frames if stop is None else stop
    step = round(_BLOCK_SECONDS * pcm.sample_rate)
    for at in range(start, stop, step):
        yield resampler.feed(pcm.read(at, min(at + step, stop)), last=at + step >= stop)


def file_gain(pcm: PcmFile, *, heard: Callable[[Iterator[Samples]], Iterator[Samples]] = iter) -> float:
    """Return the factor by which a whole recording is to be amplified (utils.audio.amplify).

    Its blocks go through `heard`, which may raise where nobody waits any more.
    """
    step = max(round(LEVEL_SECONDS * pcm.sample_rate), 1) * round(_BLOCK_SECONDS / LEVEL_SECONDS)
    return gain(heard(pcm.read(at, at + step) for at in range(0, pcm.frames, step)), pcm.sample_rate)
