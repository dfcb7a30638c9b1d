"""The fake engine: a tone per word instead of a voice, in no time, with knobs for everything that can go wrong.

It needs no library and no model. Besides its options, a text may say `fake:crash`, `fake:segfault`, `fake:hang`,
`fake:out_of_memory`, `fake:error` or `fake:delay=0.5`, which happens when the piece with that word is spoken.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from core.engines import EngineContext, EngineOptions
from core.errors import ConfigurationError, VoiceNotFound
from tts.engine import TtsEngine
from tts.voice import SpeechOptions, Voice
from utils.audio.pcm import Audio, Samples

CHARACTER_SECONDS = 0.06
GAP_SECONDS = 0.05
LOUDNESS = 0.3
_FADE_SECONDS = 0.005
_MIB = 1 << 20
_MARKER = re.compile(r"fake:(crash|segfault|hang|out_of_memory|error|delay=\d+(?:\.\d+)?)")
_VOICES = (
    Voice(id="fake_anna", name="fake_anna", language="en-US", gender="female"),
    Voice(id="fake_ben", name="fake_ben", language="en-GB", gender="male"),
    Voice(id="fake_carla", name="fake_carla", language="es", gender="female"),
    Voice(id="fake_diego", name="fake_diego", language="es", gender="male"),
)


class FakeTtsOptions(EngineOptions):
    """What goes wrong: `delay` seconds before each piece, `fail` at each piece, `leak` MiB kept at each piece."""

    sample_rate: int = Field(default=24_000, ge=8_000, le=48_000)
    delay: float = Field(default=0.0, ge=0)
    load_delay: float = Field(default=0.0, ge=0)
    fail: Literal["crash", "segfault", "hang", "out_of_memory", "error"] | None = None
    fail_load: Literal["crash", "segfault", "hang", "out_of_memory", "error"] | None = None
    leak: int = Field(default=0, ge=0)


class FakeTtsEngine(TtsEngine):
    """Says each word as a tone that depends on the word, the voice and every option; longer words take longer."""

    Options: ClassVar[type[EngineOptions]] = FakeTtsOptions
    options: FakeTtsOptions
    speed_range = (0.5, 2.0)
    can_clone = True
    takes_instructions = True
    languages = ("en", "es")

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self.sample_rate = self.options.sample_rate
        self._references: dict[str, str] = {}
        self._leaked: list[bytes] = []

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the four voices, whatever the folder."""
        del model
        return _VOICES

    def voices(self) -> Sequence[Voice]:
        """Return the four voices."""
        return _VOICES

    def load(self) -> None:
        """Wait and fail as the options say."""
        time.sleep(self.options.load_delay)
        if self.options.fail_load == "error":
            raise ConfigurationError("the fake engine was told not to load")
        if self.options.fail_load:
            _FAILURES[self.options.fail_load]()

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Yield one chunk per word. Raises VoiceNotFound, and whatever the options or the text ask for."""
        key = (self._key(voice), options.language, options.seed, options.temperature, options.instructions)
        time.sleep(self.options.delay)
        self._leaked.append(bytes(os.urandom(1)) * (self.options.leak * _MIB))
        if self.options.fail:
            _FAILURES[self.options.fail]()
        for word in text.split():
            if marker := _MARKER.search(word):
                _act(marker[1])
            yield Audio(self._tone(word, f"{word} {key}", options.speed), self.sample_rate)

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Remember the recording: its content decides the tone of the voice."""
        content = hashlib.sha256(np.ascontiguousarray(reference.samples, dtype="<f4").tobytes())
        self._references[voice.id] = content.hexdigest()

    def _key(self, voice: Voice) -> str:
        found = self._references.get(voice.id) if voice.type == "cloned" else voice.id
        if found is None or (voice.type == "builtin" and voice not in _VOICES):
            raise VoiceNotFound("the fake engine has no such voice", param="voice")
        return found

    def _tone(self, word: str, key: str, speed: float) -> Samples:
        frequency = 120 + zlib.crc32(key.encode()) % 600
        length = round(len(word) * CHARACTER_SECONDS / speed * self.sample_rate)
        time_axis = np.arange(length, dtype=np.float32) / self.sample_rate
        fade = np.minimum(np.minimum(time_axis, time_axis[::-1]) / _FADE_SECONDS, 1.0)
        tone = LOUDNESS * fade * np.sin(2 * np.pi * frequency * time_axis)
        gap = np.zeros(round(GAP_SECONDS / speed * self.sample_rate))
        return np.concatenate([tone, gap]).astype(np.float32)


def _act(marker: str) -> None:
    name, _, seconds = marker.partition("=")
    if name == "delay":
        time.sleep(float(seconds))
    else:
        _FAILURES[name]()


def _crash() -> None:
    os._exit(70)


def _segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    threading.Event().wait()


def _run_out_of_memory() -> None:
    raise MemoryError


def _break() -> None:
    raise RuntimeError("the fake engine was told to break")


_FAILURES: Mapping[str, Callable[[], None]] = {
    "crash": _crash,
    "segfault": _segfault,
    "hang": _hang,
    "out_of_memory": _run_out_of_memory,
    "error": _break,
}
