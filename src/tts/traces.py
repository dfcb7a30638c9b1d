"""What engines keep on disk of the recordings they cloned: files whose names begin with the recording's hash.

It is biometric data, and has to go when the voice goes.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np

from tts.reference import MAX_SECONDS
from tts.voice import Voice
from utils.audio import wav
from utils.audio.pcm import Audio

log = logging.getLogger(__name__)


def recording_hash(reference: Audio) -> str:
    """Return the SHA-256 of the samples and their rate, under which an engine keeps what it computed from them."""
    digest = hashlib.sha256(f"{reference.sample_rate}:".encode())
    digest.update(np.ascontiguousarray(reference.samples, dtype="<f4").data)
    return digest.hexdigest()


def hash_of(voice: Voice) -> str | None:
    """Return the hash that engines have seen of a voice that was made by request.

    None when its file is gone or is not the plain WAV any more that was written then.
    """
    pcm = wav.probe(voice.sample) if voice.sample else None
    if pcm is None:
        log.warning("voice %s: what engines keep of its recording cannot be told", voice.id)
        return None
    return recording_hash(Audio(pcm.read(0, MAX_SECONDS * pcm.sample_rate), pcm.sample_rate))


def remove(cache: Path, recording: str | None) -> None:
    """Delete what engines keep below `cache` of the recording with this hash."""
    for path in cache.rglob(f"{recording}-*") if recording else ():
        path.unlink(missing_ok=True)
