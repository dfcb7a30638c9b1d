"""Files inside text: base64, bare or in a data URL, decoded piece by piece, so that it is not held several times."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = re.compile(r"data:([^,]{0,200}?)(;base64)?,", re.IGNORECASE)
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BLANKS = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PIECE_CHARS = 1 << 20


class EncodedFile(NamedTuple):
    """A file as text: base64 from `start` on, in either alphabet; `content_type` is what a data URL says, else ""."""

    text: str
    start: int
    content_type: str

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes of the file. Raises ValueError, with a message fit for a client, for what is no base64."""
        rest, ended = b"", False
        try:
            for at in range(self.start, len(self.text), _PIECE_CHARS):
                piece = self.text[at : at + _PIECE_CHARS].encode("ascii").translate(_URL_SAFE, _BLANKS)
                data = piece.rstrip(b"=")
                if data and (ended or b"=" in data):
                    raise ValueError("there is data after the padding")
                ended = ended or len(data) < len(piece)
                whole = (len(rest) + len(data)) // 4 * 4
                data = rest + data
                yield base64.b64decode(data[:whole], validate=True)
                rest = data[whole:]
            yield base64.b64decode(rest + b"=" * (-len(rest) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("it is neither base64 nor a data URL") from error


def is_url(text: str) -> bool:
    """Return whether a text is the address of a file rather than one; a data URL is no address."""
    return _URL.match(text) is not None


def encoded_file(text: str) -> EncodedFile:
    """Return the file that a data URL or bare base64 holds, not decoded yet.

    Raises ValueError, with a message fit for a client, for a data URL without base64.
    """
    head = _HEAD.match(text)
    if head is None:
        return EncodedFile(text, 0, "")
    if not head[2]:
        raise ValueError("the data URL is not base64")
    return EncodedFile(text, head.end(), head[1])
