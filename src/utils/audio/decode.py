"""Turning any media file into 16-bit mono PCM in a file, in an ffmpeg child that can neither run away nor look around.

Uploads are hostile until shown otherwise. The container must be on a list, so that no playlist makes ffmpeg open
something else; the output is counted, so that a small file cannot become an endless one; and the child has limits on
memory, CPU time, files and wall time.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import resource
import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ffmpeg

from utils.audio import sniff, wav
from utils.audio.ffmpeg import READ_BYTES, kill, start
from utils.audio.pcm import PcmFile

Reason = Literal["empty", "unsupported", "no_audio", "undecodable", "too_long", "timeout", "no_space"]
MESSAGES: dict[Reason, str] = {
    "empty": "The file is empty.",
    "unsupported": "The file is not in an audio or video format that is supported here.",
    "no_audio": "The file has no such audio stream.",
    "undecodable": "The audio could not be decoded; the file is damaged or incomplete.",
    "too_long": "The audio is too long.",
    "timeout": "Decoding the audio took too long.",
    "no_space": "There is no space left to decode the audio.",
}
# Demuxers by ffmpeg's names. None of them opens a second file: no hls, dash, concat, sdp, rtsp, image2.
CONTAINERS = "wav,w64,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,aac,aiff,amr,caf,mpegts,avi,mpeg,asf,flv,au"
_MAX_STREAMS = 32
_MAX_FILES = 32
_SAMPLE_BYTES = 2
_SLACK_BYTES = 1 << 20
_ENDED_BY_SIGNAL = 255  # ffmpeg caught a signal and left in order
_STREAM_LINE = re.compile(rb"\s+Stream #0:\d+.*?: Audio: .*?, (\d+) Hz, ([^,]+)")
_LINE_BYTES, _KEPT_LINES = 500, 40


class MediaError(Exception):
    """The file cannot be used. `reason` says why, the text is for the client and names no path."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(MESSAGES[reason])
        self.reason: Reason = reason


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


async def to_pcm(source: Path, target: Path, *, limits: Limits, audio_track: int | None = None) -> PcmFile:
    """Return the samples of `source`: in place when it is a plain 16-bit WAV, else decoded to `target` at 16 kHz.

    A child ended from outside is started once more. Raises what `decode` raises.
    """
    pcm = None if audio_track else await asyncio.to_thread(wav.probe, source)
    if pcm is None:
        try:
            return await decode(source, target, limits=limits, audio_track=audio_track)
        except DecoderKilled:
            return await decode(source, target, limits=limits, audio_track=audio_track)
    if not pcm.frames:
        raise MediaError("empty")
    if pcm.duration > limits.max_seconds:
        raise MediaError("too_long")
    return pcm


async def decode(
    source: Path, target: Path, *, limits: Limits, sample_rate: int = 16_000, audio_track: int | None = None
) -> PcmFile:
    """Decode one audio track of `source` (the first, unless `audio_track` counts from 0) to mono PCM in `target`.

    The channels are mixed down. On an error, and when cancelled, the child is gone and `target` is removed.
    Raises MediaError, DecoderKilled, and FfmpegMissing of utils.audio.ffmpeg.
    """
    if reason := await asyncio.to_thread(_refusal, source):
        raise MediaError(reason)
    track = audio_track or 0
    cap = int(limits.max_seconds * sample_rate) * _SAMPLE_BYTES
    # A second more than allowed, so that what is too long can be told from what just fits.
    command = _command(source, track=track, sample_rate=sample_rate, stop_bytes=cap + sample_rate * _SAMPLE_BYTES)
    async with _created(target) as output:
        log = _Log(track, limits)
        status = await _run(command, output, cap=cap, limits=limits, log=log)
        size = os.fstat(output).st_size
        if size > cap:
            raise MediaError("too_long")
        _check(status, size, log)
        return PcmFile(target, size // _SAMPLE_BYTES, sample_rate)


def _refusal(source: Path) -> Reason | None:
    with source.open("rb") as file:
        return sniff.refusal(file.read(sniff.HEAD_BYTES))


def _command(source: Path, *, track: int, sample_rate: int, stop_bytes: int) -> list[str]:
    media = ffmpeg.input(
        f"file:{source.absolute()}",
        threads=1,
        protocol_whitelist="file,pipe",
        format_whitelist=CONTAINERS,
        max_streams=_MAX_STREAMS,
    )
    # -fs and not -t: a jump in the timestamps is no audio, and -t would take it for some.
    output = ffmpeg.output(
        media[f"a:{track}"], "pipe:1", format="s16le", acodec="pcm_s16le", ac=1, ar=sample_rate, fs=stop_bytes
    )
    # At "info" ffmpeg prints rate and channels before it decodes.
    command: list[str] = output.global_args("-nostdin", "-hide_banner", "-nostats", "-v", "info").get_args()
    return command


@asynccontextmanager
async def _created(target: Path) -> AsyncIterator[int]:
    """Give a descriptor to write `target` through; on an error the file is removed."""
    try:
        output = await asyncio.to_thread(os.open, target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _translated(error) from error
    try:
        yield output
    except BaseException:
        await asyncio.shield(asyncio.to_thread(target.unlink, missing_ok=True))
        raise
    finally:
        os.close(output)


def _translated(error: OSError) -> Exception:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return MediaError("no_space")
    return error


async def _run(command: list[str], output: int, *, cap: int, limits: Limits, log: _Log) -> int:
    """Run ffmpeg to its end and return its status; whatever happens, it has ended when this returns."""
    rlimits = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: cap + _SLACK_BYTES,
        resource.RLIMIT_NOFILE: _MAX_FILES,
        resource.RLIMIT_CORE: 0,
    }
    try:
        process = await start(command, cwd="/", stdout=output, limits=rlimits)
    except OSError as error:
        raise DecoderKilled("the decoder could not be started") from error
    try:
        async with asyncio.timeout(limits.timeout):
            while process.stderr and (data := await process.stderr.read(READ_BYTES)):
                log.feed(data)
            return await process.wait()
    except TimeoutError:
        raise MediaError("timeout") from None
    finally:
        await kill(process)


class _Log:
    """What ffmpeg says: looked through for the chosen track's shape, and the last lines kept. Bounded in memory."""

    def __init__(self, track: int, limits: Limits) -> None:
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
            if found := _STREAM_LINE.match(line[:_LINE_BYTES]):
                self._check(int(found[1]), found[2].decode(errors="replace"))

    def _check(self, rate: int, layout: str) -> None:
        limits = self._limits
        fits = limits.min_rate <= rate <= limits.max_rate and _channels(layout) <= limits.max_channels
        if self._tracks_to_pass == 0 and not fits:
            raise MediaError("unsupported")
        self._tracks_to_pass -= 1

    def says(self, *phrases: str) -> bool:
        """Return whether one of the last lines holds one of `phrases`."""
        return any(phrase.encode() in line for line in (*self._lines, self._partial) for phrase in phrases)


def _channels(layout: str) -> int:
    """Return how many channels ffmpeg's "stereo", "5.1(side)", "7.1.4" or "12 channels" are; 2 for a plain word."""
    numbers = layout.strip().split("(")[0].split(" ")[0].split(".")
    return sum(map(int, numbers)) if all(number.isdigit() for number in numbers) else 2


def _check(status: int, size: int, log: _Log) -> None:
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
        raise MediaError("no_audio")
    if status or size < _SAMPLE_BYTES:
        raise MediaError("undecodable")
