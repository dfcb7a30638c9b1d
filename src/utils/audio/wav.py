"""WAV headers: reading those of plain 16-bit PCM in place, writing the 44-byte one. The rest is left to ffmpeg."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from utils.audio.pcm import PcmFile

HEADER_BYTES = 44
UNKNOWN_SIZE = 0xFFFFFFFF
MIN_RATE, MAX_RATE, MAX_CHANNELS = 4_000, 192_000, 8

_PCM, _EXTENSIBLE = 0x0001, 0xFFFE
_FMT_BYTES, _EXTENSIBLE_BYTES = 16, 40
_SUBFORMAT = slice(24, 40)
_PCM_SUBFORMAT = bytes.fromhex("0100000000001000800000aa00389b71")
_MAX_CHUNKS = 256  # a file made of empty chunks must not keep us busy


@dataclass(frozen=True, slots=True)
class _Format:
    channels: int
    sample_rate: int

    @classmethod
    def parse(cls, body: bytes) -> _Format | None:
        """Return the format of a `fmt ` chunk if it is 16-bit PCM of a sane shape."""
        if len(body) < _FMT_BYTES:
            return None
        tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", body)
        if tag == _EXTENSIBLE:
            if len(body) < _EXTENSIBLE_BYTES or body[_SUBFORMAT] != _PCM_SUBFORMAT:
                return None
        elif tag != _PCM:
            return None
        shape_fits = 1 <= channels <= MAX_CHANNELS and MIN_RATE <= rate <= MAX_RATE
        return cls(channels, rate) if shape_fits and bits == 16 and frame_bytes == 2 * channels else None  # noqa: PLR2004


def probe(path: Path) -> PcmFile | None:
    """Return the samples of a plain 16-bit PCM WAV where they lie, or None for any other file.

    Sizes in the header are believed only as far as the file goes; 0 and 0xFFFFFFFF, which programs write that stream,
    mean "to the end of the file". Raises nothing: what cannot be read is None.
    """
    try:
        with path.open("rb") as file:
            return _find_samples(file, path)
    except (OSError, struct.error):
        return None


def _find_samples(file: BinaryIO, path: Path) -> PcmFile | None:
    end = os.fstat(file.fileno()).st_size
    riff, _, wave = struct.unpack("<4sI4s", file.read(12))
    if (riff, wave) != (b"RIFF", b"WAVE"):
        return None
    form: _Format | None = None
    for _ in range(_MAX_CHUNKS):
        name, size = struct.unpack("<4sI", file.read(8))
        start = file.tell()
        if name == b"data":
            if form is None:
                return None
            left = max(0, end - start)
            length = left if size in {0, UNKNOWN_SIZE} else min(size, left)
            return PcmFile(path, length // (2 * form.channels), form.sample_rate, form.channels, start)
        if name == b"fmt ":
            form = _Format.parse(file.read(min(size, _EXTENSIBLE_BYTES)))
            if form is None:
                return None
        file.seek(start + size + size % 2)
    return None


def header(sample_rate: int, *, frames: int | None, channels: int = 1) -> bytes:
    """Return the 44 bytes before 16-bit PCM; `frames` None, or too many for 32 bits, writes 0xFFFFFFFF in both sizes.

    Streaming servers write 0xFFFFFFFF: zero makes readers such as Python's `wave` refuse the file.
    """
    frame_bytes = 2 * channels
    data = UNKNOWN_SIZE if frames is None else frames * frame_bytes
    riff = data + HEADER_BYTES - 8
    if riff > UNKNOWN_SIZE:
        data = riff = UNKNOWN_SIZE
    form = struct.pack("<HHIIHH", _PCM, channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", riff, b"WAVE", b"fmt ", _FMT_BYTES, form, b"data", data)
