"""A diarizer without a model: speakers that take turns by the clock, voices told by their tones. For tests.

Whoever talks in a stretch of `turn_seconds` is told by its number, so that a test can say who it is; silent stretches
have no turn. A voice's vector is the spectrum of its sound: two tones are two persons, whatever their loudness.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from asr.diarization.engine import (
    SAMPLE_RATE,
    Capabilities,
    Diarization,
    DiarizeOptions,
    EncoderFacts,
    Recording,
    SpeakerEncoder,
    Turn,
    Vector,
)
from asr.diarization.likeness import Matrix, unit
from asr.diarization.timeline import cleaned_exclusive, numbered
from core.engines import EngineOptions
from core.errors import ConfigurationError, InsufficientMemory, InvalidAudio
from utils.audio.pcm import Samples
from utils.audio.spans import Span

Failure = Literal["crash", "hang", "out_of_memory", "error"]
CRASH_STATUS = 70
_SILENCE_PEAK = 0.002
_CELL = SAMPLE_RATE // 10
_BLOCK = 300 * _CELL
_FRAME = 512
_SIZE = 128  # bins of a frame's spectrum: up to 4 kHz


class FakeDiarizerOptions(EngineOptions):
    """Options of the fake diarizer."""

    speakers: int = Field(default=2, ge=1, description="How many take turns, where a request does not say.")
    turn_seconds: float = Field(default=2.0, gt=0, description="Length of a turn.")
    overlap: float = Field(
        default=0.0, ge=0, description="Seconds for which who has talked goes on into the next turn."
    )
    delay: float = Field(default=0.0, ge=0, description="Seconds it takes per second of audio.")
    load_delay: float = Field(default=0.0, ge=0, description="Seconds it takes to load.")
    load_fails: bool = Field(default=False, description="Whether loading ends with an error.")
    fail: Failure | None = Field(default=None, description="How every diarization ends.")


class FakeDiarizer(SpeakerEncoder):
    """Deterministic, supports every option, and takes a millisecond unless told otherwise."""

    Options = FakeDiarizerOptions
    options: FakeDiarizerOptions
    capabilities = Capabilities(overlap=True)
    facts = EncoderFacts(model="fake-voice", size=_SIZE, verify=0.3, identify=0.3)

    def load(self) -> None:
        """Wait `load_delay` seconds, or fail if the options say so."""
        threading.Event().wait(self.options.load_delay)
        if self.options.load_fails:
            raise ConfigurationError("the fake diarizer was told not to load")

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Return who has a turn wherever it is not silent; who talks first is speaker 0."""
        self._fail()
        count = _speakers(options, self.options.speakers)
        size = max(round(self.options.turn_seconds * SAMPLE_RATE), 1)
        found: list[Turn] = []
        sounds: dict[int, Matrix] = {}
        for index, start in enumerate(range(0, recording.length, size)):
            stop = min(start + size, recording.length)
            samples = recording.read(start, stop)
            time.sleep(self.options.delay * len(samples) / SAMPLE_RATE)
            if not _is_silent(samples):
                speaker = index % count
                found.append(Turn(start / SAMPLE_RATE, stop / SAMPLE_RATE, speaker))
                sounds[speaker] = sounds.get(speaker, np.zeros(_SIZE)) + _spectrum(samples)
            progress(stop / recording.length)
        exclusive, numbers = numbered(cleaned_exclusive(found, min_on=options.min_on, min_off=options.min_off))
        duration = recording.length / SAMPLE_RATE
        turns = [replace(turn, end=min(turn.end + self.options.overlap, duration)) for turn in exclusive]
        return Diarization(
            turns=tuple(turns),
            exclusive=tuple(exclusive),
            embeddings={number: _voice(sounds[speaker]) for speaker, number in numbers.items()},
        )

    def embed(self, samples: Samples) -> Vector:
        """Return the spectrum of the sound. Raises InvalidAudio for less than half a second, and for silence."""
        if len(samples) < self.facts.min_seconds * SAMPLE_RATE or _is_silent(samples):
            raise InvalidAudio("there is too little speech to tell whose voice it is", param="file")
        return _voice(_spectrum(samples))

    def speech(self, recording: Recording, *, progress: Callable[[float], None]) -> list[Span]:
        """Return what is not silent, in tenths of a second."""
        loud: list[npt.NDArray[np.bool_]] = [np.zeros(1, dtype=np.bool_)]
        for start in range(0, recording.length, _BLOCK):
            stop = min(start + _BLOCK, recording.length)
            samples = recording.read(start, start + -(-(stop - start) // _CELL) * _CELL)
            loud.append(np.abs(samples).reshape(-1, _CELL).max(axis=1) >= _SILENCE_PEAK)
            progress(stop / recording.length)
        edges = np.flatnonzero(np.diff(np.concatenate([*loud, loud[0]]).astype(np.int8))) * _CELL
        seconds = (np.minimum(edges, recording.length) / SAMPLE_RATE).tolist()
        return [Span(start, end) for start, end in zip(seconds[::2], seconds[1::2], strict=True)]

    def _fail(self) -> None:
        if self.options.fail == "crash":
            os._exit(CRASH_STATUS)
        if self.options.fail == "hang":
            threading.Event().wait()
        if self.options.fail == "out_of_memory":
            raise InsufficientMemory("the device has no memory left for this request")
        if self.options.fail == "error":
            raise RuntimeError("the fake diarizer was told to fail")


def _speakers(options: DiarizeOptions, usual: int) -> int:
    if options.num_speakers is not None:
        return options.num_speakers
    least, most = options.min_speakers or 1, options.max_speakers
    return max(usual, least) if most is None else min(max(usual, least), most)


def _is_silent(samples: Samples) -> bool:
    return not len(samples) or float(np.abs(samples).max()) < _SILENCE_PEAK


def _spectrum(samples: Samples) -> Matrix:
    """Return the sum of the magnitudes of frames, shape (_SIZE,); the last one is filled up with silence."""
    frames = np.zeros((-(-len(samples) // _FRAME), _FRAME))
    frames.reshape(-1)[: len(samples)] = samples
    result: Matrix = np.abs(np.fft.rfft(frames * np.hanning(_FRAME))).sum(axis=0)[:_SIZE]
    return result


def _voice(spectrum: Matrix) -> Vector:
    return unit(spectrum).astype(np.float32)
