"""Where the command line finds and keeps voices: in a running service, or in the voices folder of this machine."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from core import errors
from tts.consents import Consents
from tts.library import Library, check_name
from tts.recordings import Recordings
from tts.removal import remove
from tts.samples import MAX_BYTES, read_sample
from tts.service import TtsService
from tts.settings import TtsSettings
from tts.sidecar import Sidecar
from utils import languages
from voice_stack.cli.client import gone, key_header, raise_for_error

_TIMEOUT = httpx.Timeout(30.0, read=120.0)


@dataclass(frozen=True, slots=True)
class Row:
    """A voice as it is listed."""

    name: str
    language: str | None
    gender: str | None
    type: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A voice that is to be made from the recording at `file`."""

    file: Path
    name: str
    text: str | None
    language: str | None
    consent: str | None

    def fields(self) -> dict[str, str]:
        """Return what the service is told besides the recording."""
        given = {
            "name": self.name,
            "reference_text": self.text,
            "language": self.language,
            "consent": self.consent,
        }
        return {key: value for key, value in given.items() if value}


class Voices(Protocol):
    """A place with voices."""

    async def rows(self, model: str | None) -> list[Row]:
        """Return the voices of a model, of all installed ones without."""

    async def add(self, draft: Draft) -> str:
        """Make a voice and return its id."""

    async def remove(self, name: str) -> None:
        """Delete the voice with this name or id."""


class ServiceVoices:
    """The voices of a running service."""

    def __init__(self, url: str, settings: TtsSettings) -> None:
        self._url = url
        self._keys = settings.api_keys

    async def rows(self, model: str | None) -> list[Row]:
        """Ask for the list."""
        query = {"model": model} if model else {}
        async with self._client() as client:
            answer = await client.get("/audio/voices", params=query)
            await raise_for_error(answer)
            return [_row(voice) for voice in answer.json()["voices"]]

    async def add(self, draft: Draft) -> str:
        """Upload the recording."""
        data = await asyncio.to_thread(_read, draft.file)
        upload = {"audio_sample": (draft.file.name, data)}
        async with self._client() as client:
            answer = await client.post("/audio/voices", data=draft.fields(), files=upload)
            await raise_for_error(answer)
            return str(answer.json()["id"])

    async def remove(self, name: str) -> None:
        """Have it deleted."""
        async with self._client() as client:
            await raise_for_error(await client.delete(f"/audio/voices/{quote(name, safe='')}"))

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        headers = key_header(self._keys)
        try:
            async with httpx.AsyncClient(
                base_url=self._url, timeout=_TIMEOUT, headers=headers, trust_env=False
            ) as client:
                yield client
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise gone(self._url, error) from error


class LocalVoices:
    """The voices of this machine: no service runs, and no model is loaded."""

    def __init__(self, settings: TtsSettings) -> None:
        self._settings = settings
        self._library = Library(Recordings(settings.voice_dir))

    async def rows(self, model: str | None) -> list[Row]:
        """Look into the models and the folder."""
        async with self._service() as service:
            return list(_rows(service, model))

    async def add(self, draft: Draft) -> str:
        """Put the recording into the folder, as the service would."""
        async with self._service() as service:
            service.check_cloning()
            taken = {row.name for row in _rows(service, None) if row.type == "builtin"}
        self._library.check_free(check_name(draft.name), taken=taken)
        consents = Consents(self._settings.places.state / "voices.db")
        consent = consents.asked_for(draft.consent or None, policy=self._settings.voice_consent)
        await asyncio.to_thread(_read, draft.file)
        about = Sidecar(
            name=draft.name,
            language=_language(draft.language),
            reference_text=draft.text,
            created_at=int(time.time()),
            consent=consent,
        )
        with tempfile.TemporaryDirectory() as folder:
            sample = await read_sample(draft.file, Path(folder) / "sample.wav", param="file")
            return self._library.add(sample.path, about, taken=taken).id

    async def remove(self, name: str) -> None:
        """Delete its files, and what the engines of this machine keep of it."""
        async with self._service() as service:
            await remove(service, self._library, name)

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[TtsService]:
        service = TtsService(self._settings)
        try:
            yield service
        finally:
            await service.close()


def _rows(service: TtsService, model: str | None) -> Iterable[Row]:
    for each in [service.listed(model)] if model else service.host.installed():
        for voice in service.voices(each):
            yield Row(voice.name, voice.language, voice.gender, voice.type, each.id)


def _row(voice: dict[str, Any]) -> Row:
    return Row(voice["name"], voice["language"], voice["gender"], voice["type"], voice["model"])


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise errors.FileTooLarge(f"{path} is larger than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise errors.InvalidRequest(f"cannot read {path}: {error.strerror or error}") from error


def _language(given: str | None) -> str | None:
    try:
        return languages.parse(given)
    except ValueError as error:
        raise errors.InvalidRequest(str(error)) from error
