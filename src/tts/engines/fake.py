"""An engine without a model: a tone per word, the same one for the same words. For tests and trying out.

It fails as its options say, or as the text says when the piece with that word is spoken: `fake:crash`, `fake:hang` and
so on, and `fake:delay=0.5` to wait.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
from pydantic import Field

from core.engines import EngineContext, EngineOptions
from core.errors import ConfigurationError, VoiceNotFound
from tts.engine import TtsEngine
from tts.voice import SpeechOptions, SpokenWord, TimedAudio, Voice
from tts.words import words_of
from utils.audio.pcm import Audio, Samples

Failure = Literal["crash", "segfault", "hang", "out_of_memory", "leak", "garbage", "error"]
CRASH_STATUS = 70
CHARACTER_SECONDS = 0.06
GAP_SECONDS = 0.05
LOUDNESS = 0.3
_FADE_SECONDS = 0.005
_MARKER = re.compile(rf"fake:({'|'.join(get_args(Failure))}|delay=\d+(?:\.\d+)?)")
_VOICES = (
    Voice(id="fake_anna", name="fake_anna", language="en-US", gender="female"),
    Voice(id="fake_ben", name="fake_ben", language="en-GB", gender="male"),
    Voice(id="fake_carla", name="fake_carla", language="es", gender="female"),
    Voice(id="fake_diego", name="fake_diego", language="es", gender="male"),
)


class FakeTtsOptions(EngineOptions):
    """Options of the fake engine."""

    sample_rate: int = Field(default=24_000, ge=8_000, le=48_000, description="Rate of its tones in Hz.")
    delay: float = Field(default=0.0, ge=0, description="Seconds it takes per piece.")
    load_delay: float = Field(default=0.0, ge=0, description="Seconds it takes to load.")
    load_fails: bool = Field(default=False, description="Whether loading ends with an error.")
    fail: Failure | None = Field(default=None, description="How every piece ends.")
    leak_mb: int = Field(default=16, ge=0, description="Megabytes that `leak` keeps per piece.")
    times_words: bool = Field(default=True, description="Whether it says when its words are spoken.")
    first_chars: int | None = Field(
        default=None, ge=1, description="Longest first piece; unset yields while it speaks."
    )


class FakeTtsEngine(TtsEngine):
    """Deterministic, supports every option, and takes a millisecond unless told otherwise.

    The tone depends on the word, the voice and every option; longer words take longer.
    """

    Options: ClassVar[type[EngineOptions]] = FakeTtsOptions
    options: FakeTtsOptions
    speed_range = (0.5, 2.0)
    can_clone = True
    can_mix = True
    takes_instructions = True
    languages = ("en", "es")

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self.sample_rate = self.options.sample_rate
        self.times_words = self.options.times_words
        self.first_chars = self.options.first_chars
        self._references: dict[str, str] = {}
        self._leaked: list[bytearray] = []

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return the four voices, whatever the folder."""
        del model
        return _VOICES

    def voices(self) -> Sequence[Voice]:
        """Return the four voices."""
        return _VOICES

    def load(self) -> None:
        """Wait `load_delay` seconds, or fail if the options say so."""
        threading.Event().wait(self.options.load_delay)
        if self.options.load_fails:
            raise ConfigurationError("the fake engine was told not to load")

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Yield one chunk per word. Raises VoiceNotFound, and whatever the options or the text ask for."""
        key = (self._key(voice), options.language, options.seed, options.temperature, options.instructions)
        time.sleep(self.options.delay)
        if self.options.fail:
            self._act(self.options.fail)
        for word in text.split():
            if marker := _MARKER.search(word):
                self._act(marker[1])
            yield self._chunk(word, f"{word} {key}", options)

    def clone(self, voice: Voice, reference: Audio) -> None:
        """Remember the recording: its content decides the tone of the voice."""
        content = hashlib.sha256(np.ascontiguousarray(reference.samples, dtype="<f4").tobytes())
        self._references[voice.id] = content.hexdigest()

    def forget(self, voice: Voice) -> None:
        """Forget the recording."""
        self._references.pop(voice.id, None)

    def _key(self, voice: Voice) -> str:
        if voice.mix:
            if unknown := {share.id for share in voice.mix} - {each.id for each in _VOICES}:
                raise VoiceNotFound(f"the fake engine has no voice {unknown.pop()}", param="voice")
            return "+".join(f"{share.id}*{share.weight}" for share in voice.mix)
        found = self._references.get(voice.id) if voice.type == "cloned" else voice.id
        if found is None or (voice.type == "builtin" and voice.id not in {each.id for each in _VOICES}):
            raise VoiceNotFound("the fake engine has no such voice", param="voice")
        return found

    def _chunk(self, word: str, key: str, options: SpeechOptions) -> Audio:
        samples = self._tone(word, key, options.speed)
        if not options.timestamps:
            return Audio(samples, self.sample_rate)
        # A tone ends where the gap behind it begins.
        end = len(samples) / self.sample_rate - GAP_SECONDS / options.speed
        return TimedAudio(samples, self.sample_rate, tuple(SpokenWord(name, 0.0, end) for name in words_of(word)[:1]))

    def _tone(self, word: str, key: str, speed: float) -> Samples:
        frequency = 120 + zlib.crc32(key.encode()) % 600
        length = round(len(word) * CHARACTER_SECONDS / speed * self.sample_rate)
        time_axis = np.arange(length, dtype=np.float32) / self.sample_rate
        fade = np.minimum(np.minimum(time_axis, time_axis[::-1]) / _FADE_SECONDS, 1.0)
        tone = LOUDNESS * fade * np.sin(2 * np.pi * frequency * time_axis)
        gap = np.zeros(round(GAP_SECONDS / speed * self.sample_rate))
        return np.concatenate([tone, gap]).astype(np.float32)

    def _act(self, marker: str) -> None:
        name, _, seconds = marker.partition("=")
        if name == "delay":
            time.sleep(float(seconds))
        else:
            getattr(self, f"_{name}")()

    def _crash(self) -> None:
        os._exit(CRASH_STATUS)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _hang(self) -> None:
        threading.Event().wait()

    def _out_of_memory(self) -> None:
        raise MemoryError("pretended")

    def _leak(self) -> None:
        self._leaked.append(bytearray(b"\1") * (self.options.leak_mb << 20))

    def _garbage(self) -> None:
        for descriptor in (1, 2):
            os.write(descriptor, b"\x00\xff\xfe{]\r\n" * 64)

    def _error(self) -> None:
        raise RuntimeError("the fake engine was told to fail")
