"""Where the command line finds and keeps known people: in a running service, or in the registry of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import orjson

from asr.diarization.engine import Voiceprint
from asr.diarization.people import People, Person, check_labels, check_name, name_key
from asr.listening import is_unsure, listen
from asr.service import AsrService
from asr.settings import AsrSettings
from core import errors
from voice_stack.cli.client import gone, raise_for_error
from voice_stack.cli.transcriber import service_client


@dataclass(frozen=True, slots=True)
class Row:
    """A person as they are listed; `registered_at` is a date and time in UTC."""

    id: str
    name: str
    samples: int
    models: tuple[str, ...]
    registered_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A person to register, or to give more samples; `model` None: the default."""

    name: str
    files: tuple[Path, ...]
    labels: Mapping[str, str]
    model: str | None


@dataclass(frozen=True, slots=True)
class Added:
    """Whom a draft made: their id and how many samples they have now; `unsure` are files with little speech."""

    id: str
    samples: int
    unsure: tuple[Path, ...]


class Speakers(Protocol):
    """A place with known people."""

    async def rows(self) -> list[Row]:
        """Return everybody."""

    async def add(self, draft: Draft) -> Added:
        """Register somebody, or add samples."""

    async def remove(self, key: str) -> None:
        """Forget the person with this name or id."""


class ServiceSpeakers:
    """The people whom a running service knows."""

    def __init__(self, url: str, settings: AsrSettings) -> None:
        self._url = url
        self._settings = settings

    async def rows(self) -> list[Row]:
        """Ask for the list."""
        async with self._client() as client:
            answer = await client.get("/voice/speakers")
            await raise_for_error(answer)
            return [_row(person) for person in answer.json()["data"]]

    async def add(self, draft: Draft) -> Added:
        """Upload the recordings one after another; of several all are heard before the first is kept."""
        model = {"model": draft.model} if draft.model else {}
        labels = {"labels": orjson.dumps(draft.labels).decode()} if draft.labels else {}
        told: dict[str, Any] = {}
        unsure = []
        async with self._client() as client:
            for file in draft.files if len(draft.files) > 1 else ():
                await _sent(client, "/voice/embed", file, model)
            for file in draft.files:
                told = await _sent(client, "/voice/register", file, {"name": draft.name, **labels, **model})
                unsure += [file] if told["low_confidence"] else []
        return Added(told["id"], told["samples"], tuple(unsure))

    async def remove(self, key: str) -> None:
        """Have them forgotten."""
        person_id = _id_of(key, await self.rows())
        async with self._client() as client:
            await raise_for_error(await client.post("/voice/forget", json={"id": person_id}))

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        try:
            async with service_client(self._url, self._settings) as client:
                yield client
        except httpx.HTTPError as error:
            raise gone(self._url, error) from error


class LocalSpeakers:
    """The people whom this machine knows; a model is loaded only to listen to somebody new."""

    def __init__(self, settings: AsrSettings) -> None:
        self._settings = settings.model_copy(update={"log_level": "WARNING"})
        self._people = People.of(settings)

    async def rows(self) -> list[Row]:
        """Read the registry."""
        return [_listed(person) for person in await self._people.run(self._people.everybody)]

    async def add(self, draft: Draft) -> Added:
        """Listen to the recordings in a worker of our own, and keep their voiceprints once all were heard."""
        self._people.check()
        check_name(draft.name)
        check_labels(draft.labels)
        voices = await self._heard(draft)
        for voice in voices:
            person = await self._people.run(self._people.register, draft.name, voice, labels=draft.labels or None)
        unsure = [file for file, voice in zip(draft.files, voices, strict=True) if is_unsure(voice)]
        return Added(person.id, person.samples, tuple(unsure))

    async def remove(self, key: str) -> None:
        """Forget them, as the service would."""
        await self._people.run(self._people.forget, _id_of(key, await self.rows()))

    async def _heard(self, draft: Draft) -> list[Voiceprint]:
        service = AsrService(self._settings)
        try:
            model = service.diarizer.resolve(draft.model)
            voices = []
            for file in draft.files:
                async with service.spool.folder() as folder:
                    with _named(file):
                        voices.append(await listen(service, file.resolve(), folder, model=model))
            return voices
        finally:
            await service.close()


async def _sent(client: httpx.AsyncClient, path: str, file: Path, data: Mapping[str, str]) -> dict[str, Any]:
    with _named(file), file.open("rb") as recording:
        answer = await client.post(path, data=data, files={"audio": (file.name, recording)})
        await raise_for_error(answer)
    told: dict[str, Any] = answer.json()
    return told


def _id_of(key: str, rows: Sequence[Row]) -> str:
    """Return the id of who has this id or name, else the key: forgetting nobody clears what a cut-off call left."""
    named = name_key(key)
    return next((row.id for row in rows if row.id == key or name_key(row.name) == named), key)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Tell of what is wrong with a recording which one it is."""
    try:
        yield
    except (errors.InvalidAudio, errors.UnsupportedFormat, errors.FileTooLarge) as error:
        error.message = f"{file}: {error.message}"
        raise


def _row(person: Mapping[str, Any]) -> Row:
    return Row(person["id"], person["name"], person["samples"], tuple(person["models"]), person["registered_at"])


def _listed(person: Person) -> Row:
    return Row(person.id, person.name, person.samples, person.models, person.registered)
