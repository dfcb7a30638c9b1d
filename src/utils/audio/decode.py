"""Turning any media file into 16-bit mono PCM in a file, in an ffmpeg child that can neither run away nor look around.

Uploads are hostile until shown otherwise. The container must be on a list, so that no playlist makes ffmpeg open
something else; the output is counted, so that a small file cannot become an endless one; and the child has limits on
memory, CPU time, files and wall time.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import ffmpeg
import numpy as np

from utils.audio import sniff, wav
from utils.audio.ffmpeg import QUIET, READ_BYTES, kill, start
from utils.audio.ffmpeg_log import SAMPLE_BYTES, FfmpegLog, check_end
from utils.audio.media import DecoderKilled, Limits, MediaError, Reason, too_long
from utils.audio.pcm import INT16_SCALE, PcmFile

__all__ = ["CONTAINERS", "DecoderKilled", "Limits", "MediaError", "decode", "to_pcm"]

# Demuxers by ffmpeg's names. None of them opens a second file: no hls, dash, concat, sdp, rtsp, image2.
CONTAINERS = "wav,w64,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,aac,aiff,amr,caf,mpegts,avi,mpeg,asf,flv,au"
_MAX_STREAMS = 32
_MAX_FILES = 32
_SLACK_BYTES = 1 << 20
_STEREO = 2
_SILENCE = 2 / INT16_SCALE
_SILENCE_SECONDS = 30
_SHAPE_SECONDS = 0.1  # decoded to learn how many channels a track has


async def to_pcm(
    source: Path,
    target: Path,
    *,
    limits: Limits,
    audio_track: int | None = None,
    raw_rate: int | None = None,
    head_seconds: float | None = None,
    channels: int | None = 1,
) -> PcmFile:
    """Return the samples of `source`: in place when it is a plain 16-bit WAV, else decoded to `target` at 16 kHz.

    With a `raw_rate` (Hz) the file is 16-bit little-endian mono samples without a header, whatever it looks like; an
    odd last byte is no sample. Where it must be decoded, `head_seconds` are enough, and there are as many `channels`
    then, None for all that it has. A child ended from outside is started once more. Raises what `decode` raises.
    """
    pcm = await asyncio.to_thread(_in_place, source, audio_track, raw_rate)
    if pcm and not pcm.frames:
        raise MediaError("empty")
    if pcm and pcm.duration > limits.max_seconds:
        raise too_long(limits.max_seconds, pcm.duration)
    # Mixed down, two channels may cancel each other out.
    mixed = pcm is not None and pcm.channels == _STEREO and channels == 1
    if pcm and not (mixed and await asyncio.to_thread(_is_silent, pcm)):
        return pcm
    how = partial(
        decode, source, target, limits=limits, audio_track=audio_track, head_seconds=head_seconds, channels=channels
    )
    with suppress(DecoderKilled):
        return await how()
    return await how()


def _in_place(source: Path, audio_track: int | None, raw_rate: int | None) -> PcmFile | None:
    if raw_rate:
        return PcmFile(source, source.stat().st_size // SAMPLE_BYTES, raw_rate)
    return None if audio_track else wav.probe(source)


async def decode(
    source: Path,
    target: Path,
    *,
    limits: Limits,
    sample_rate: int = 16_000,
    audio_track: int | None = None,
    head_seconds: float | None = None,
    channels: int | None = 1,
) -> PcmFile:
    """Decode one audio track of `source` (the first, unless `audio_track` counts from 0) to PCM in `target`.

    With `head_seconds` decoding stops after so many; what comes then is not looked at and may be of any length.
    The channels are mixed to as many as wanted, None for as many as the track has; for one, a stereo track whose
    channels cancel each other out gives its left one. A mono track gives two that are the same.
    On an error, and when cancelled, the child is gone and `target` is removed.
    Raises MediaError, DecoderKilled, and FfmpegMissing of utils.audio.ffmpeg.
    """
    if reason := await asyncio.to_thread(_refusal, source):
        raise MediaError(reason)
    async with _created(target) as output:
        job = _Job(source, target, output, audio_track or 0, sample_rate, limits, head_seconds, channels or 1)
        if channels is None:
            _, found = await replace(job, head_seconds=_SHAPE_SECONDS).run()
            job = replace(job, channels=found or 1)
            _empty(output)
        pcm, found = await job.run()
        if channels == 1 and found == _STEREO and await asyncio.to_thread(_is_silent, pcm):
            _empty(output)
            pcm, _ = await job.run(left_only=True)
        return pcm


@dataclass(frozen=True, slots=True)
class _Job:
    source: Path
    target: Path
    output: int
    track: int
    sample_rate: int
    limits: Limits
    head_seconds: float | None
    channels: int

    async def run(self, *, left_only: bool = False) -> tuple[PcmFile, int]:
        """Decode once; return what is in `target` now and how many channels the track has."""
        frame = SAMPLE_BYTES * self.channels
        cap = int(self.limits.max_seconds * self.sample_rate) * frame
        # A second more than allowed, so that what is too long can be told from what just fits.
        enough = cap + self.sample_rate * frame
        if self.head_seconds is not None:
            enough = min(enough, int(self.head_seconds * self.sample_rate) * frame)
        log = FfmpegLog(self.track, self.limits)
        command = self._command(enough, left_only=left_only)
        status = await _run(command, self.output, cap=cap, limits=self.limits, log=log)
        size = os.fstat(self.output).st_size
        if size > cap:
            raise too_long(self.limits.max_seconds, log.claimed_seconds)
        check_end(status, size, log)
        return PcmFile(self.target, size // frame, self.sample_rate, self.channels), log.channels

    def _command(self, enough: int, *, left_only: bool) -> list[str]:
        media = ffmpeg.input(
            f"file:{self.source.absolute()}",
            threads=1,
            protocol_whitelist="file,pipe",
            format_whitelist=CONTAINERS,
            max_streams=_MAX_STREAMS,
        )[f"a:{self.track}"]
        if left_only:
            media = media.filter("channelmap", "0", "mono")
        output = ffmpeg.output(
            media,
            "pipe:1",
            format="s16le",
            acodec="pcm_s16le",
            ac=self.channels,
            ar=self.sample_rate,
            threads=1,  # filters too: on a big machine a thread per core would not fit into memory_bytes
            # Not -t: a jump in the timestamps is no audio, and -t would take it for some.
            fs=enough,
        )
        # At "info" ffmpeg prints rate and channels before it decodes.
        command: list[str] = output.global_args("-nostdin", *QUIET, "-v", "info").get_args()
        return command


def _empty(output: int) -> None:
    os.ftruncate(output, 0)
    os.lseek(output, 0, os.SEEK_SET)


def _refusal(source: Path) -> Reason | None:
    with source.open("rb") as file:
        return sniff.refusal(file.read(sniff.HEAD_BYTES))


def _is_silent(pcm: PcmFile) -> bool:
    step = _SILENCE_SECONDS * pcm.sample_rate
    return all(np.abs(pcm.read(at, at + step)).max() <= _SILENCE for at in range(0, pcm.frames, step))


@asynccontextmanager
async def _created(target: Path) -> AsyncIterator[int]:
    """Give a descriptor to write `target` through; on an error the file is removed."""
    try:  # not in a thread: cancelled there, nobody would close it
        output = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
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


async def _run(command: list[str], output: int, *, cap: int, limits: Limits, log: FfmpegLog) -> int:
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
