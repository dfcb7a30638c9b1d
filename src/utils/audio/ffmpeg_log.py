"""What ffmpeg prints while it decodes, and what its end means. The texts are those of ffmpeg 5 to 9."""

from __future__ import annotations

import errno
import re
import signal
from collections import deque

from utils.audio.media import DecoderKilled, Limits, MediaError

SAMPLE_BYTES = 2
_ENDED_BY_SIGNAL = 255  # ffmpeg caught a signal and left in order
_STREAM_LINE = re.compile(rb"\s+Stream #0:\d+.*?: Audio: .*?, (\d+) Hz, ([^,]+)")
_AUDIO_LINE = re.compile(rb"\s+Stream #0:\d+.*?: Audio: ")
_DURATION_LINE = re.compile(rb"\s+Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_LINE_BYTES, _KEPT_LINES = 500, 40


class FfmpegLog:
    """What ffmpeg says: looked through for the chosen track's shape, and the last lines kept. Bounded in memory."""

    def __init__(self, track: int, limits: Limits) -> None:
        self.channels = 0
        self.tracks = 0
        """Audio tracks of the file, as long as there is no output."""
        self.claimed_seconds: float | None = None
        """How long the file says that it is."""
        self.track = track
        self._tracks_to_pass = track
        self._limits = limits
        self._partial = b""
        self._lines: deque[bytes] = deque(maxlen=_KEPT_LINES)

    def feed(self, data: bytes) -> None:
        """Take more output; raises MediaError as soon as the track turns out to be out of bounds."""
        *lines, rest = (self._partial + data).split(b"\n")
        self._partial = rest[:_LINE_BYTES]
        for line in lines:
            self._lines.append(line[:_LINE_BYTES])
            self.tracks += _AUDIO_LINE.match(line[:_LINE_BYTES]) is not None
            if found := _DURATION_LINE.match(line[:_LINE_BYTES]):
                self.claimed_seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            if found := _STREAM_LINE.match(line[:_LINE_BYTES]):
                self._check(int(found[1]), found[2].decode(errors="replace"))

    def _check(self, rate: int, layout: str) -> None:
        if self._tracks_to_pass == 0:
            self.channels = _channels(layout)
            limits = self._limits
            if not limits.min_rate <= rate <= limits.max_rate or self.channels > limits.max_channels:
                raise MediaError("unsupported")
        self._tracks_to_pass -= 1

    def says(self, *phrases: str) -> bool:
        """Return whether one of the last lines holds one of `phrases`."""
        return any(phrase.encode() in line for line in (*self._lines, self._partial) for phrase in phrases)


def _channels(layout: str) -> int:
    """Return how many channels ffmpeg's "mono", "5.1(side)", "7.1.4" or "12 channels" are; 2 for any other word."""
    if layout.strip() == "mono":
        return 1
    numbers = layout.strip().split("(")[0].split(" ")[0].split(".")
    return sum(map(int, numbers)) if all(number.isdecimal() for number in numbers) else 2


def check_end(status: int, size: int, log: FfmpegLog) -> None:
    """Raise what the end of the child means; a status of 0 alone does not mean that there is audio."""
    if status == -signal.SIGKILL:
        raise DecoderKilled("the decoder was killed")
    if status == -signal.SIGXCPU or (status == _ENDED_BY_SIGNAL and log.says(f"received signal {signal.SIGXCPU:d}")):
        raise MediaError("timeout")
    if status == _ENDED_BY_SIGNAL:
        raise DecoderKilled("the decoder was told to end")
    if status in {256 - errno.ENOSPC, 256 - errno.EDQUOT} or (status and log.says("No space left on device")):
        raise MediaError("no_space")
    if log.says("Format not on whitelist"):
        raise MediaError("unsupported")
    if log.says("matches no streams", "does not contain any stream"):
        if log.tracks:
            told = f"The file has no audio track {log.track}; it has {log.tracks}, counted from 0."
            raise MediaError("no_track", told)
        raise MediaError("no_audio")
    if status or size < SAMPLE_BYTES:
        raise MediaError("undecodable")
