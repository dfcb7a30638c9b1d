"""What the rows are run against: two base URLs, and services of our own where a row needs special settings."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from tests.conformance import media
from tests.conformance.services import Services

Engine = Literal["fake", "real"]
SECONDS = 60


class LeftOut(Exception):
    """The row cannot be asked of this target, and why."""


@dataclass(eq=False)
class Target:
    """Two services to ask. `services` starts others with the fake engine; without it rows that need them are left out.

    `speech` is a WAV that the ASR service finds text in.
    """

    asr_url: str = ""
    tts_url: str = ""
    engine: Engine = "real"
    services: Services | None = None
    api_key: str = ""
    audio: Path | None = None
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    @functools.cached_property
    def asr(self) -> httpx.Client:
        """A client of the ASR service."""
        return self._client(self.asr_url, "--asr")

    @functools.cached_property
    def tts(self) -> httpx.Client:
        """A client of the TTS service."""
        return self._client(self.tts_url, "--tts")

    def _client(self, url: str, option: str) -> httpx.Client:
        if not url:
            raise LeftOut(f"no {option} URL given")
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return self._open.enter_context(httpx.Client(base_url=url, timeout=SECONDS, headers=headers))

    @functools.cache  # noqa: B019 - a target lives as long as the run
    def special(self, name: str) -> httpx.Client:
        """Return a client of one of the services of `services.SPECIAL`, started when it is first asked for."""
        return self._open.enter_context(httpx.Client(base_url=self._services.url(name), timeout=SECONDS))

    def fresh(self, name: str) -> httpx.Client:
        """As `special`, but of a process that has just been started."""
        return self._open.enter_context(httpx.Client(base_url=self._services.fresh(name), timeout=SECONDS))

    @property
    def _services(self) -> Services:
        if self.services is None:
            raise LeftOut("needs services with special settings, which a given URL does not have")
        return self.services

    def fake(self) -> None:
        """Leave the row out unless the services run the fake engine, which fails and waits on request."""
        if self.engine != "fake":
            raise LeftOut("needs the fake engine")

    def diarizing(self) -> None:
        """Leave the row out where no installed model tells who speaks."""
        if not self.asr.get("/v1/capabilities").raise_for_status().json()["features"]["diarization"]:
            raise LeftOut("no diarization model is installed")

    @functools.cached_property
    def speech(self) -> bytes:
        """A WAV of three to twelve seconds that has text in it."""
        if self.audio:
            return self.audio.read_bytes()
        if self.engine == "fake" or not self.tts_url:
            return media.tone(12)
        text = "The quick brown fox jumps over the lazy dog. Good morning, the kettle is on the stove."
        wanted = {"input": text, "response_format": "wav", "stream": False}
        return self.tts.post("/v1/audio/speech", json=wanted).raise_for_status().content

    @functools.cached_property
    def samples(self) -> bytes:
        """The same as raw s16le, 16 kHz mono."""
        return media.samples(self.speech)

    def close(self) -> None:
        """Stop what was started."""
        self._open.close()
        if self.services is not None:
            self.services.close()
