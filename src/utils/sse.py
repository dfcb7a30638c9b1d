"""Frames of a server-sent event stream; what goes into them is not decided here."""

from __future__ import annotations

import orjson

DONE = b"data: [DONE]\n\n"
"""OpenAI's last frame."""


def comment(text: str) -> bytes:
    """Return a comment, which every client skips; `text` must be one line."""
    return f": {text}\n\n".encode()


PING = comment("ping")
"""Keeps proxies and read timeouts quiet."""


def event(name: str, data: object) -> bytes:
    """Return one frame with an `event:` and a `data:` line.

    `data` is dumped as one line of JSON; bytes are taken as JSON that is dumped already. Both lines are needed:
    Subtitle Edit drops frames without the first. Raises ValueError for a line break, which would tear the frame.
    """
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    head = name.encode()
    if any(mark in part for part in (head, body) for mark in (b"\n", b"\r")):
        raise ValueError("a line break in a server-sent event")
    return b"event: " + head + b"\ndata: " + body + b"\n\n"
