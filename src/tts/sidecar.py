"""What is known about a voice that was made by request: a small JSON file beside its recording."""

from __future__ import annotations

import logging
import os
import re
import stat
from io import BufferedReader
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

log = logging.getLogger(__name__)

MADE_ID = re.compile(r"voice_[0-9a-f]{24}")
"""The ids, and so the file stems, of voices made by request."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MAX_BYTES = 64 << 10


class Sidecar(BaseModel):
    """Name, language (ISO 639-1), what is said in the recording, when it was made (Unix time), id of the consent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    language: str | None = None
    reference_text: str | None = None
    created_at: int = 0
    consent: str | None = None


def read_sidecar(path: Path, facts: os.stat_result | None) -> Sidecar | None:
    """Return what a sidecar says, None when there is no readable one."""
    if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_size > _MAX_BYTES:
        return None
    try:
        with open_ordinary(path) as file:
            return Sidecar.model_validate_json(file.read(_MAX_BYTES))
    except (OSError, ValidationError):
        log.warning("voices folder: %r is not readable", path.name)
        return None


def open_ordinary(path: Path) -> BufferedReader:
    """Open a file for reading that is no link and no pipe, whatever it was when the folder was listed; else OSError."""
    file = open(path, "rb", opener=_without_following)  # noqa: SIM115 - Path.open has no opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not an ordinary file")
    return file


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
