"""Recordings that voices are cloned from, read for an engine in its worker process; soundfile is imported when used."""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader
from pathlib import Path

import numpy as np

from core.errors import InvalidAudio, VoiceNotFound
from tts.engine import TtsEngine
from tts.recordings import open_ordinary
from tts.voice import Voice
from utils.audio.pcm import Audio

MAX_SECONDS = 60
_Stamp = tuple[Path, int, int, int]


class References:
    """Remembers which recordings an engine has been given, so that each is prepared once per content."""

    def __init__(self) -> None:
        self._stamps: dict[str, _Stamp] = {}
        self._hashes: dict[str, str] = {}

    def prepare(self, engine: TtsEngine, voice: Voice) -> None:
        """Have the engine clone a voice, unless it did so from the same recording.

        Raises VoiceNotFound when the recording is gone, InvalidAudio when it cannot be read.
        """
        if voice.sample is None:
            raise VoiceNotFound("this voice has no recording", param="voice")
        try:
            file = open_ordinary(voice.sample)
        except OSError as error:
            raise VoiceNotFound("the recording of this voice is gone", param="voice") from error
        with file:
            facts = os.fstat(file.fileno())
            stamp = (voice.sample, facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if self._stamps.get(voice.id) == stamp:
                return
            content = hashlib.file_digest(file, "sha256").hexdigest()
            if self._hashes.get(voice.id) != content:
                file.seek(0)
                engine.clone(voice, _read(file))
        self._stamps[voice.id] = stamp
        self._hashes[voice.id] = content


def _read(file: BufferedReader) -> Audio:
    """Return at most the first minute of a recording as mono, at its own rate."""
    import soundfile  # noqa: PLC0415 - not in the API process

    try:
        with soundfile.SoundFile(file) as sound:
            samples = sound.read(MAX_SECONDS * sound.samplerate, dtype="float32", always_2d=True)
            rate = int(sound.samplerate)
    except (soundfile.SoundFileError, ValueError) as error:
        raise InvalidAudio("the recording of this voice cannot be read", param="voice") from error
    if not samples.size or not np.isfinite(samples).all():
        raise InvalidAudio("the recording of this voice has no usable samples", param="voice")
    return Audio(np.clip(samples.mean(axis=1), -1.0, 1.0), rate)
