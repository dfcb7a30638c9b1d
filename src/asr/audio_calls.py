"""Calls of workers about recordings: identical ones are one, and what ends the process again and again is refused."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.pieces import EXPRESS_SECONDS
from asr.poison import Poison
from asr.sharing import Shared
from core.host import ModelHost
from core.metrics import Metrics
from core.model_entry import ModelRef
from core.spool import Spool
from core.worker import Event
from utils.audio.pcm import PcmFile

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioCall:
    """What a worker's `method` is asked about samples: `options` are what the engine is told.

    `sha256` of the upload tells which calls are identical, and lets a recording that ended the process twice be
    refused; without it a call is shared with nobody. Calls with the same `alike` are identical though their options
    differ. It may take `timeout` seconds; `wait` as ModelHost.call has it.
    """

    method: str
    audio: PcmFile
    options: DataclassInstance
    model: ModelRef
    timeout: float
    sha256: str = ""
    wait: bool = False
    alike: DataclassInstance | None = None

    @property
    def key(self) -> tuple[Any, ...] | None:
        """What identical calls have in common, None for one that is shared with nobody."""
        if not self.sha256:
            return None
        # The file's name tells the tracks of one upload apart.
        samples = replace(self.audio, path=Path(self.audio.path.name))
        return (self.sha256, samples, self.alike or self.options, self.model.id, self.wait, self.timeout)


class AudioCalls:
    """The calls of a host's workers; `spool` returns what holds the files in flight."""

    def __init__(self, host: ModelHost, *, metrics: Metrics, spool: Callable[[], Spool]) -> None:
        self._host = host
        self._metrics = metrics
        self._spool = spool
        self.poison = Poison()
        self._shared: Shared[Event] = Shared()

    @asynccontextmanager
    async def join(self, call: AudioCall) -> AsyncIterator[AsyncIterable[Event]]:
        """Begin a call, or join an identical one that is in progress; the last to leave the context ends it.

        The samples must stay until then. Raises UnprocessableAudio, and everything ModelHost.call raises.
        """
        self.poison.check(call.sha256, call.model.id)
        async with self._shared.join(call.key, lambda: self._work(call)) as events:
            yield events

    async def close(self) -> None:
        """End the calls."""
        await self._shared.close()

    @asynccontextmanager
    async def _work(self, call: AudioCall) -> AsyncIterator[AsyncIterable[Event]]:
        model, seconds = call.model, call.audio.duration
        async with self._held(call.audio) as audio:
            params = {"pcm": audio.to_dict(), "options": asdict(call.options)}
            short = seconds <= EXPRESS_SECONDS
            async with self._host.call(
                model, call.method, params, timeout=call.timeout, short=short, wait=call.wait
            ) as working:
                started = time.monotonic()
                with self.poison.watch(call.sha256, model.id):
                    yield working
                if working.done.is_set():
                    self._metrics.observe_audio(seconds, time.monotonic() - started, model=model.id)

    @asynccontextmanager
    async def _held(self, audio: PcmFile) -> AsyncIterator[PcmFile]:
        """Keep the samples until the work is done: whose upload they are may leave before those who share it."""
        spool = self._spool()
        if not audio.path.is_relative_to(spool.path):
            yield audio  # the caller's own file, which stays
            return
        async with spool.folder() as folder:
            kept = folder / audio.path.name
            with suppress(OSError):  # a file system without links: only the first reader can rely on the file
                kept.hardlink_to(audio.path)
                audio = replace(audio, path=kept)
            yield audio
