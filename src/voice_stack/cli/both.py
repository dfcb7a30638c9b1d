"""Running both services as children of one foreground process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

from rich.console import Console
from rich.text import Text

from voice_stack.cli import runner, selfcheck

console = Console(highlight=False)
complaints = Console(highlight=False, stderr=True)
NAMES: tuple[runner.Name, ...] = ("asr", "tts")
STOP_MARGIN = 15.0
"""Seconds a child gets beyond those it gives its requests."""


class _Child:
    """One service: its process, and its address once it is ready."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, *, stop_seconds: float) -> None:
        self.name = name
        self._stop_seconds = stop_seconds
        self.process = process
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str, *, stop_seconds: float) -> _Child:
        command = (sys.executable, "-P", "-m", "voice_stack", "serve", name)
        # Ctrl-C must reach the children through us, once, and not through the terminal as well.
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, start_new_session=True, env=os.environ
        )
        return cls(name, process, stop_seconds=stop_seconds)

    async def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - asked for above
        async for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            console.print(Text.assemble((self.name, "bold"), "  ", line), soft_wrap=True)
            if line.startswith("ready: ") and not self.address.done():
                self.address.set_result(line.removeprefix("ready: "))
            elif line.startswith("not ready: ") and not self.address.done():
                self.address.set_exception(RuntimeError(line))

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(self._stop_seconds):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        await self.reader
        if not self.address.done():
            self.address.cancel()


async def run(*, check: bool, exit_after: bool) -> int:
    """Run both services until one ends or a signal comes; return the exit status."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    grace = max(runner.load_settings(name).graceful_shutdown_seconds for name in NAMES)
    children = [await _Child.start(name, stop_seconds=grace + STOP_MARGIN) for name in NAMES]
    try:
        return await _supervise(children, stop, check=check, exit_after=exit_after)
    finally:
        await asyncio.gather(*(child.stop() for child in children))


async def _supervise(children: list[_Child], stop: asyncio.Event, *, check: bool, exit_after: bool) -> int:
    stopped = asyncio.create_task(stop.wait())
    ended = [asyncio.create_task(child.process.wait()) for child in children]
    work = asyncio.create_task(_check(children)) if check else None
    try:
        waiting = {stopped, *ended} | ({work} if work else set())
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if work in done and work is not None and (exit_after or work.exception()):
                return 0 if not work.exception() and work.result() else 1
            if stopped in done:
                return 0
            if done & set(ended):
                _tell_end(children)
                return 1
    finally:
        for task in (stopped, *ended, *([work] if work else [])):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


def _tell_end(children: list[_Child]) -> None:
    """Print which of the services ended by itself, how, and which one goes with it."""
    gone = [child for child in children if child.process.returncode is not None]
    rest = [child.name for child in children if child not in gone]
    told = [f"{child.name} ended with {_manner(child.process.returncode or 0)}" for child in gone]
    told += [f"stopping {name}" for name in rest]
    complaints.print(f"voice-stack: {'; '.join(told)}", markup=False, soft_wrap=True)


def _manner(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


async def _check(children: list[_Child]) -> bool:
    asr, tts = [await child.address for child in children]
    return await selfcheck.round_trip(asr, tts, console, keys=runner.load_settings("asr").api_keys)
