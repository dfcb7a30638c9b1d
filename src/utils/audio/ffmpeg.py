"""The ffmpeg program: where it is, starting it as a child with limits, ending it for certain. No media knowledge."""

from __future__ import annotations

import asyncio
import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

READ_BYTES = 1 << 16
QUIET = ("-hide_banner", "-nostats", "-filter_complex_threads", "1")


class FfmpegMissing(Exception):
    """There is no ffmpeg on PATH and the one that comes with imageio-ffmpeg does not run here."""


@functools.cache
def executable() -> str:
    """Return the path of the ffmpeg to run: the one on PATH, else imageio-ffmpeg's. Raises FfmpegMissing.

    The first call may start the program to see whether it runs, so make it in a thread.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - not needed where ffmpeg is installed

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise FfmpegMissing("no ffmpeg: install it, or pip install imageio-ffmpeg") from error


def version() -> str:
    """Return the version ffmpeg prints, such as "5.1.9-0+deb12u1". Blocks; raises FfmpegMissing."""
    try:
        done = subprocess.run([executable(), "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise FfmpegMissing("ffmpeg does not run") from error
    words = done.stdout.split(maxsplit=3)
    return words[2] if words[:2] == ["ffmpeg", "version"] else "unknown"


async def start(
    arguments: Sequence[str],
    *,
    cwd: str,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    limits: Mapping[int, int] | None = None,
) -> Process:
    """Start ffmpeg in a session of its own, without environment, its stderr in a pipe. Raises OSError, FfmpegMissing.

    `limits` maps RLIMIT_* to values. They are set right after the start, because a function run between fork
    and exec is unsafe in a process with threads; ffmpeg has not opened its input by then.
    """
    program = await asyncio.to_thread(executable)
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            program, *arguments, stdin=stdin, stdout=stdout, stderr=PIPE, cwd=cwd, env={}, start_new_session=True
        )
    )
    try:
        process = await asyncio.shield(starting)  # uvloop loses a child whose start is cancelled
    except asyncio.CancelledError:
        await asyncio.shield(_end_once_started(starting))
        raise
    try:
        _limit(process.pid, limits or {})
    except BaseException:
        await kill(process)
        raise
    return process


async def _end_once_started(starting: asyncio.Future[Process]) -> None:
    with suppress(OSError):
        await _end(await starting)


def _limit(pid: int, limits: Mapping[int, int]) -> None:
    if sys.platform != "linux":  # no prlimit elsewhere: -fs, the wall limit and the whitelist still hold
        return
    for kind, wanted in limits.items():
        _, allowed = resource.getrlimit(kind)
        # SIGXCPU comes at the soft limit and says what happened; the SIGKILL at the hard one does not.
        hard = wanted + 2 if kind == resource.RLIMIT_CPU else wanted
        if allowed != resource.RLIM_INFINITY:
            hard = min(hard, allowed)
        with suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(pid, kind, (min(wanted, hard), hard))


async def kill(process: Process) -> None:
    """End the child's whole group if it still runs, and wait until it and its pipes are gone. Does nothing twice.

    Runs to its end even if the caller is cancelled meanwhile.
    """
    await asyncio.shield(_end(process))


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: PermissionError for a zombie
            os.killpg(process.pid, signal.SIGKILL)
    if process.stdin:
        process.stdin.close()
    for stream in (process.stdout, process.stderr):
        while stream and await stream.read(READ_BYTES):  # a pipe closes only once it has been read to its end
            pass
    await process.wait()
