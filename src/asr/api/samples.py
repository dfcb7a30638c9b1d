"""Recordings that come as numbers: the samples in a JSON array, taken out of the body before it is parsed."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from asr.api.json_body import MAX_VALUES
from core import errors
from utils.audio.pcm import Audio, PcmFile

FIELD: Final = "audio"
RATE: Final = 16_000
"""Hz of the samples; there is no field to say another."""
LOUDEST: Final = 2.0
"""Samples lie in [-1, 1]. What a resampler puts a little above is clipped, larger numbers have another scale."""
_ARRAY = re.compile(rf'"{FIELD}"\s*:\s*\['.encode())
# Possessive, as a string may be as long as the body.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_MAX_TOKENS: Final = 3 * MAX_VALUES
"""What has more strings and brackets before the array has more values than a body may have."""
_PIECE_BYTES = 256 << 10
"""So much is parsed at once: numbers take eight times their size in memory, and other threads wait meanwhile."""


def take_samples(body: Path, target: Path) -> PcmFile | None:
    """Write the array `audio` of a JSON object to `target`, and leave an empty one in its place; None without an array.

    The rest of the body need not be valid JSON. Raises InvalidRequest for an array that holds anything but numbers in
    [-1, 1], and OSError when the disk is full. Blocks.
    """
    if not body.stat().st_size:
        return None
    with body.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = _start(content)
        if start is None:
            return None
        stop = content.find(b"]", start)
        if stop < 0:
            raise _malformed()
        frames = _write(content, start, stop, target)
        rest = content[:start] + content[stop:]
    body.write_bytes(rest)
    return PcmFile(target, frames, RATE)


def _start(content: mmap.mmap) -> int | None:
    """Return where the first number of the array may be."""
    depth = 0
    for token in islice(_TOKEN.finditer(content), _MAX_TOKENS):
        mark = content[token.start()]
        if mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
        elif depth == 1 and (match := _ARRAY.match(content, token.start())):
            return match.end()
    return None


def _write(content: mmap.mmap, start: int, stop: int, target: Path) -> int:
    """Write the numbers as 16-bit samples; return how many there were."""
    frames = 0
    with target.open("wb") as file:
        for piece in _pieces(content, start, stop):
            audio = _audio(piece)
            file.write(audio.to_s16())
            frames += len(audio.samples)
    return frames


def _pieces(content: mmap.mmap, start: int, stop: int) -> Iterator[bytes]:
    """Yield what is between two brackets, cut at commas."""
    at = start
    while at < stop:
        end = min(at + _PIECE_BYTES, stop)
        comma = content.find(b",", end, stop)
        end = stop if comma < 0 else comma
        yield content[at:end]
        at = end + 1


def _audio(piece: bytes) -> Audio:
    try:
        numbers = orjson.loads(b"[" + piece + b"]")
        # NumPy would read texts and truth values as numbers.
        if not {int, float}.issuperset(map(type, numbers)):
            raise _malformed()
        values = np.asarray(numbers, dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise _malformed() from error
    if not (np.isfinite(values).all() and np.abs(values).max(initial=0.0) <= LOUDEST):
        raise errors.InvalidRequest(f"{FIELD!r} holds samples that do not lie between -1 and 1", param=FIELD)
    return Audio(values.astype(np.float32), RATE)


def _malformed() -> errors.InvalidRequest:
    return errors.InvalidRequest(f"{FIELD!r} must be an array of numbers, or the recording as base64", param=FIELD)
