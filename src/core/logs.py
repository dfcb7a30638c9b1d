"""Logging of services and workers: one line per event on stderr, never more than one line whatever is logged."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


class _OneLine(logging.Formatter):
    """Escapes control characters, those of tracebacks too, so that what a client sent cannot forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()
        text = super().format(record)
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def setup(level: str) -> None:
    """Send everything of `level` and above to stderr; library chatter below WARNING is dropped."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("voice_stack", "core", "utils", "asr", "tts", "uvicorn.error"):
        logging.getLogger(name).setLevel(level)
    logging.getLogger("uvicorn.error").setLevel("WARNING" if level != "DEBUG" else level)
