"""What decoding a file may cost, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.audio import wav

Reason = Literal["empty", "unsupported", "no_audio", "no_track", "undecodable", "too_long", "timeout", "no_space"]
MESSAGES: dict[Reason, str] = {
    "empty": "The file is empty.",
    "unsupported": "The file is not in an audio or video format that is supported here.",
    "no_audio": "The file has no audio.",
    "no_track": "The file has no such audio track.",
    "undecodable": "The audio could not be decoded; the file is damaged or incomplete.",
    "too_long": "The audio is too long.",
    "timeout": "Decoding the audio took too long.",
    "no_space": "There is no space left to decode the audio.",
}


class MediaError(Exception):
    """The file cannot be used. `reason` says why, the text is for the client and names no path."""

    def __init__(self, reason: Reason, message: str | None = None) -> None:
        super().__init__(message or MESSAGES[reason])
        self.reason: Reason = reason


def too_long(allowed: float, length: float | None = None) -> MediaError:
    """Return the error for audio of more than `allowed` seconds; its `length` in seconds, None when it is not known."""
    known = f"it has {_seconds(length)} seconds and " if length and length > allowed else "it "
    return MediaError("too_long", f"The audio is too long: {known}may have up to {_seconds(allowed)} seconds.")


def _seconds(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class DecoderKilled(Exception):
    """The child was ended from outside or could not be started; nothing is known about the file."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost: decoded seconds, wall and CPU seconds, bytes of address space; and what it may hold."""

    max_seconds: float = 14_400
    timeout: float = 600
    cpu_seconds: int = 600
    memory_bytes: int = 1 << 30
    max_channels: int = wav.MAX_CHANNELS
    min_rate: int = wav.MIN_RATE
    max_rate: int = wav.MAX_RATE
