"""Speaker latents on disk: computed once per recording and model, kept as npz under their content hashes."""

from __future__ import annotations

import logging
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.audio.pcm import Samples

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Latents:
    """What XTTS knows of a speaker: `gpt` of shape (1, tokens, dim), `speaker` of shape (1, 512, 1)."""

    gpt: Samples
    speaker: Samples


class LatentCache:
    """Latents on disk by recording hash, for one model; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, model_hash: str) -> None:
        self._folder = folder
        self._model_hash = model_hash

    def get(self, recording: str) -> Latents | None:
        """Return the latents of a recording, None when they must be computed."""
        path = self._path(recording)
        if path is None or not path.is_file():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return Latents(stored["gpt"].astype(np.float32), stored["speaker"].astype(np.float32))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            log.warning("speaker latents on disk are damaged; computing them again")
            return None

    def put(self, recording: str, latents: Latents) -> None:
        """Keep latents; a full or read-only disk costs the cache, not the request."""
        if (path := self._path(recording)) is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, latents)
        except OSError as error:
            log.warning("speaker latents are not kept on disk: %s", error.strerror)

    def _path(self, recording: str) -> Path | None:
        """Return the file of a recording; all its files, of any model, begin with the recording's hash."""
        return self._folder / f"{recording}-{self._model_hash[:16]}.npz" if self._folder else None


def _write(path: Path, latents: Latents) -> None:
    """Write through a temporary file: another worker sees the whole file or none."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".latents-", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, gpt=latents.gpt, speaker=latents.speaker)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
