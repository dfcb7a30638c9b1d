"""Times as subtitle files write them. Every digit comes from whole milliseconds, so no fraction can round to 1000."""

from __future__ import annotations


def milliseconds(seconds: float) -> int:
    """Return the nearest whole number of milliseconds; times before 0 become 0."""
    return max(0, round(seconds * 1000))


def _clock(seconds: float, mark: str) -> str:
    rest, fraction = divmod(milliseconds(seconds), 1000)
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}{mark}{fraction:03d}"


def srt(seconds: float) -> str:
    """Return `HH:MM:SS,mmm`."""
    return _clock(seconds, ",")


def vtt(seconds: float) -> str:
    """Return `HH:MM:SS.mmm`."""
    return _clock(seconds, ".")


def lrc(seconds: float) -> str:
    """Return `MM:SS.cc` in whole hundredths; minutes go beyond 59."""
    minutes, rest = divmod(milliseconds(seconds) // 10, 6000)
    return f"{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"
