"""Recordings that voices are cloned from, read for an engine in its worker process; soundfile is imported when used."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

import numpy as np

from core.errors import InvalidAudio, VoiceNotFound
from tts.engine import TtsEngine
from tts.sidecar import open_ordinary
from tts.voice import Voice
from utils.audio.pcm import Audio

log = logging.getLogger(__name__)
MAX_SECONDS = 60
MAX_VOICES = 64
"""How many cloned voices an engine has at once; the one that was not used for longest is forgotten for the next."""
_Stamp = tuple[Path, int, int, int]


@dataclass(frozen=True, slots=True)
class _Prepared:
    voice: Voice
    stamp: _Stamp
    content: str


class References:
    """Remembers which recordings an engine has been given, so that each is prepared once per content.

    Several threads speak in turns; others may make the engine forget a voice meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prepared: dict[str, _Prepared] = {}  # the one used last is last
        self._users: Counter[str] = Counter()
        self._leaving: set[str] = set()

    @contextmanager
    def using(self, engine: TtsEngine, voice: Voice) -> Iterator[Callable[[], None]]:
        """Keep a voice for the context, which is given a function to call in its first turn at the engine.

        That has the engine clone the voice, unless it did so from the same recording. It raises VoiceNotFound when the
        recording is gone, InvalidAudio when it cannot be read.
        """
        with self._lock:
            self._users[voice.id] += 1
        try:
            yield partial(self._prepare, engine, voice)
        finally:
            with self._lock:
                self._users[voice.id] -= 1
                if not self._users[voice.id]:
                    del self._users[voice.id]
                    if voice.one_shot or voice.id in self._leaving:
                        self._drop(engine, voice)

    def forget(self, engine: TtsEngine, voice: Voice) -> None:
        """Have the engine forget a voice, as if it had never been prepared; at its end when something is said in it."""
        with self._lock:
            if voice.id in self._users:
                self._leaving.add(voice.id)
            else:
                self._drop(engine, voice)
        log.info("voice %s is forgotten", voice.id)

    def _prepare(self, engine: TtsEngine, voice: Voice) -> None:
        with self._lock:
            self._give(engine, voice)

    def _give(self, engine: TtsEngine, voice: Voice) -> None:
        if voice.sample is None:
            raise VoiceNotFound("this voice has no recording", param="voice")
        try:
            file = open_ordinary(voice.sample)
        except OSError as error:
            raise VoiceNotFound("the recording of this voice is gone", param="voice") from error
        with file:
            facts = os.fstat(file.fileno())
            stamp = (voice.sample, facts.st_ino, facts.st_size, facts.st_mtime_ns)
            known = self._prepared.get(voice.id)
            if known is None or known.stamp != stamp:
                content = hashlib.file_digest(file, "sha256").hexdigest()
                if known is None or known.content != content:
                    file.seek(0)
                    engine.clone(voice, _read(file))
                    self._leaving.discard(voice.id)  # another voice took the name of the one that was to be forgotten
                known = _Prepared(voice, stamp, content)
        self._prepared.pop(voice.id, None)
        self._prepared[voice.id] = known
        idle = [each.voice for name, each in self._prepared.items() if name not in self._users]
        if len(self._prepared) > MAX_VOICES and idle:
            self._drop(engine, idle[0])

    def _drop(self, engine: TtsEngine, voice: Voice) -> None:
        self._prepared.pop(voice.id, None)
        self._leaving.discard(voice.id)
        engine.forget(voice)


def stamp(voice: Voice) -> tuple[int, int, int] | None:
    """Return what changes when a voice's recording does; None where there is none to be read."""
    try:
        facts = voice.sample.stat(follow_symlinks=False) if voice.sample else None
    except OSError:
        return None
    return facts and (facts.st_ino, facts.st_size, facts.st_mtime_ns)


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
