"""What a file is, told from its first bytes: refuses without starting a child what can hold no audio we decode."""

from __future__ import annotations

import re
from typing import Literal

HEAD_BYTES = 4096

_WITHOUT_AUDIO = (  # pictures: a container we know of, with nothing to hear
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
)
_NO_MEDIA = (
    b"%PDF",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x7fELF",
    b"MZ",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
    b"\x28\xb5\x2f\xfd",
    b"\xca\xfe\xba\xbe",
    b"\x80\x02}",  # pickle
    b"SQLite format 3\x00",
)
_AT_START = (
    b"RF64",
    b"BW64",
    b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",  # W64
    b"fLaC",
    b"OggS",
    b"\x1aE\xdf\xa3",  # EBML: Matroska, WebM
    b"ID3",
    b"APETAGEX",
    b"#!AMR",
    b"caff",
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"0&\xb2u\x8ef\xcf\x11",  # ASF
    b"FLV\x01",
    b".snd",
)
_CONTAINERS = (b"RIFF", b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3")
_RIFF_KINDS = (b"WAVE", b"AVI ")
_IFF_KINDS = (b"AIFF", b"AIFC")
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"uuid")
_WAV_TAG, _WAV_BITS = slice(20, 22), slice(34, 36)
_TS_PACKETS = (188, 192, 204)
# Layers II and III of MPEG audio, and ADTS. Such a stream may start in mid-frame, so this is looked for anywhere.
_MPEG_SYNC = re.compile(rb"\xff[\xe2-\xe5\xf0-\xf5\xf8-\xfd]")


def refusal(head: bytes) -> Literal["empty", "unsupported", "no_audio"] | None:
    """Return why a file that begins with `head` (up to HEAD_BYTES) cannot be audio, or None when it may be."""
    if not head:
        return "empty"
    if head.startswith(_WITHOUT_AUDIO) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "no_audio"
    if head.startswith(_NO_MEDIA) or _is_impossible_pcm(head):
        return "unsupported"
    return None if _known(head) or _MPEG_SYNC.search(head) else "unsupported"


def is_container(head: bytes) -> bool:
    """Return whether bytes that are said to be bare samples are a common container's; samples never look like one."""
    return head.startswith(_CONTAINERS) or head[4:8] == b"ftyp"


def _known(head: bytes) -> bool:
    return (
        head.startswith(_AT_START)
        or (head[:4] in {b"RIFF", b"RIFX"} and head[8:12] in _RIFF_KINDS)
        or (head[:4] == b"FORM" and head[8:12] in _IFF_KINDS)
        or head[4:8] in _MP4_BOXES
        or any(_is_transport_stream(head, size) for size in _TS_PACKETS)
    )


def _is_transport_stream(head: bytes, size: int) -> bool:
    first = 4 if size == 192 else 0  # noqa: PLR2004 - M2TS puts four bytes of time before each packet
    marks = head[first::size][:4]
    return len(marks) > 1 and set(marks) == {0x47}


def _is_impossible_pcm(head: bytes) -> bool:
    """Return whether a WAV claims whole-number samples of a width nobody writes; ffmpeg would guess."""
    if head[:4] != b"RIFF" or head[8:16] != b"WAVEfmt " or len(head) < _WAV_BITS.stop:
        return False
    tag, bits = (int.from_bytes(head[part], "little") for part in (_WAV_TAG, _WAV_BITS))
    return tag == 1 and not 8 <= bits <= 32  # noqa: PLR2004
