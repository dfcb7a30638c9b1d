"""A window on its way through Whisper: its spectrogram, how long it is made, and which others may go with it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from asr.engine import WindowWork
from asr.engines.faster_whisper_guard import Attempt
from asr.engines.whisper_family_options import Decoding
from asr.transcript import Task

FULL_FRAMES = 3000
"""Frames of 10 ms in the window that Whisper was trained on: 30 seconds."""
FRAMES_PER_SECOND = 100
TIMESTAMP_SECONDS = 0.02
"""What one step of a timestamp token is worth."""
_STEP = 100  # more lengths take more memory: with steps of 20 an hour of speech took 329 MB instead of 184
_MAX_LENGTH = 448
_START_TOKENS = 4
"""Tokens between the context and the text: start, language, task, and where there are none of the times, that."""
_LEAST_TOKENS, _TOKENS_PER_SECOND, _UNTIMED_TOKENS_PER_SECOND = 24, 15, 10

Features = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class WhisperWork(WindowWork):
    """One window and what has become of it so far.

    `features` has shape (mels, frames of the speech alone), `frames` is what it is padded to at least. `language` None
    is to be detected, among `candidates` if there are any. `context` are the tokens before the start of the transcript,
    `previous` the text before, out of which some of them come. `step` counts the temperatures tried, `failed` are the
    texts they gave; `encoding`, shape (1, frames / 2, size), is there where keeping it is cheaper than encoding again.
    """

    key: Hashable = field(init=False)
    length: int = field(init=False)
    features: Features
    frames: int
    decoding: Decoding
    task: Task = "transcribe"
    language: str | None = None
    language_probability: float = 1.0
    candidates: tuple[str, ...] = ()
    context: tuple[int, ...] = ()
    previous: tuple[int, ...] = ()
    step: int = 0
    failed: tuple[Attempt, ...] = ()
    encoding: Any = None

    def __post_init__(self) -> None:
        """Name all that the windows of one call must have in common."""
        # One alignment has one start sequence, in which language and task stand.
        start = (self.language, self.task) if self.decoding.aligned else None
        how = self.decoding
        search = (how.beam_size, how.best_of, how.timestamps, how.aligned)
        object.__setattr__(self, "key", (len(self.context), self.temperature, search, start))
        # Every sample takes memory like a window.
        object.__setattr__(self, "length", self.frames * (how.best_of if self.temperature > 0 else 1))

    @property
    def temperature(self) -> float:
        """The temperature to decode at."""
        return self.decoding.temperatures[self.step]

    @property
    def speech_frames(self) -> int:
        """How long the speech is, in frames."""
        return int(self.features.shape[-1])

    @property
    def duration(self) -> float:
        """How long the speech is, in seconds."""
        return self.speech_frames / FRAMES_PER_SECOND


def padded_frames(speech_frames: int, pad_seconds: float | None) -> int:
    """Return the frames to encode: speech and padding, rounded up. `pad_seconds` None gives Whisper's full window."""
    if pad_seconds is None:
        return FULL_FRAMES
    wanted = speech_frames + round(pad_seconds * FRAMES_PER_SECOND)
    return min(-(-wanted // _STEP) * _STEP, FULL_FRAMES)


def of_one_length(works: Sequence[WhisperWork]) -> list[WhisperWork]:
    """Return works whose keys are equal, padded to the longest of them; what changes is encoded anew."""
    frames = max(work.frames for work in works)
    return [work if work.frames == frames else replace(work, frames=frames, encoding=None) for work in works]


def stacked(works: Sequence[WhisperWork]) -> Features:
    """Return the features of works of one length, shape (works, mels, frames), zeros behind the speech."""
    first = works[0]
    result = np.zeros((len(works), first.features.shape[0], first.frames), dtype=np.float32)
    for row, work in enumerate(works):
        result[row, :, : work.speech_frames] = work.features
    return result


def text_limit(work: WhisperWork) -> int:
    """Return the most tokens the text of a window may have; what needs more is decoded again in another way.

    It is far more than English takes, and cuts loops short, which are more frequent without timestamps. With them, a
    full window has Whisper's own limit.
    """
    whisper = min(_MAX_LENGTH // 2, _MAX_LENGTH - len(work.context) - _START_TOKENS)
    if not work.decoding.timestamps:
        return min(_LEAST_TOKENS + round(_UNTIMED_TOKENS_PER_SECOND * work.duration), whisper)
    if work.frames >= FULL_FRAMES:
        return whisper
    return min(_LEAST_TOKENS + _TOKENS_PER_SECOND * work.frames // FRAMES_PER_SECOND, whisper)


def max_length(limit: int, context: int) -> int:
    """Return CTranslate2's `max_length` for so many tokens: it counts the context too, and halves the number."""
    return min(max(2 * limit, context + _START_TOKENS + limit), _MAX_LENGTH)
