"""What the catalogue knows about a model: the entries of catalogue.toml, and the reference that everybody else gets."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from core import model_options
from core.sources import AnySource
from core.sources.base import Data, FileSpec

Task = Literal["automatic-speech-recognition", "text-to-speech", "speaker-diarization"]
TASKS: tuple[Task, ...] = ("automatic-speech-recognition", "text-to-speech", "speaker-diarization")


class Licence(Data):
    """A licence's name; a restricted one must be accepted by the user, who finds it at `url`."""

    name: str
    restricted: bool = False
    url: str | None = None

    @model_validator(mode="after")
    def _readable(self) -> Licence:
        if self.restricted and not self.url:
            raise ValueError(f"{self.name}: a restricted licence needs the url where it can be read")
        return self


class ModelEntry(Data):
    """One model of the catalogue.

    `files` with hashes are what every source is checked against. Of the patterns in `at_least_one` each must match an
    installed file, although single files are optional. `falls_back`: while the model is not installed, requests that
    name it get the default model. A model without files is an engine that needs none. `options` are those of its
    engine, a table or a list such as ["backend:parakeet"].
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    aliases: tuple[str, ...] = ()
    task: Task
    engine: str
    languages: tuple[str, ...]
    licence: Licence
    owned_by: str
    released: date
    sample_rate: int | None = None
    translates: bool = False
    falls_back: bool = False
    files: tuple[FileSpec, ...]
    at_least_one: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    sources: tuple[AnySource, ...]

    @field_validator("options", mode="before")
    @classmethod
    def _either_spelling(cls, value: Any) -> Any:
        return model_options.parse(value)

    @field_validator("licence", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def created(self) -> int:
        """When the weights were released, in Unix seconds."""
        return int(datetime.combine(self.released, datetime.min.time(), UTC).timestamp())

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where nobody knows them before the first pull."""
        sizes = [spec.size for spec in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def weightless(self) -> bool:
        """Whether there is nothing to be pulled."""
        return not self.files

    @property
    def names(self) -> tuple[str, ...]:
        """The id and the aliases."""
        return (self.id, *self.aliases)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model as services and engines see it.

    `path` is the folder with the weights, or the one file that an engine opens, None while it is not installed.
    `languages` are ISO 639-1 (empty: not known), `sample_rate` is the output's in Hz, `created` Unix seconds, `size`
    bytes, `translates` whether it turns speech into English text. `stands_in_for` is the id that was asked for when
    another model answers for it. `weightless`: the engine needs no files. `options` are those of the engine that come
    with this model, and go before those of the settings.
    """

    id: str
    task: str
    engine: str
    path: Path | None = None
    aliases: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    licence: str = "unknown"
    owned_by: str = "user"
    created: int = 0
    sample_rate: int | None = None
    translates: bool = False
    size: int | None = None
    stands_in_for: str | None = None
    weightless: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def installed(self) -> bool:
        """Whether what the engine needs is on this machine."""
        return self.weightless or self.path is not None


class CatalogueData(Data):
    """The whole file: names that mean "the default model" by task, and the models."""

    defaults: dict[Task, tuple[str, ...]]
    models: tuple[ModelEntry, ...]

    @model_validator(mode="after")
    def _no_name_twice(self) -> CatalogueData:
        names = [name.casefold() for entry in self.models for name in set(entry.names)]
        names += [name.casefold() for group in self.defaults.values() for name in group]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"names with two meanings: {', '.join(sorted(twice))}")
        return self


def read_catalogue(path: Path, *more: Path) -> CatalogueData:
    """Read catalogue.toml, and `more` files that hold models only. Raises ValueError for a mistake in them.

    A list may name a list of the file's `[sets]` as "@name".
    """
    data = _tables(path)
    models = [model for each in more for model in _tables(each)["models"]]
    return CatalogueData.model_validate({**data, "models": [*data.get("models", ()), *models]})


def _tables(path: Path) -> dict[str, Any]:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    sets = data.pop("sets", {})
    found: dict[str, Any] = _with_sets(data, sets)
    return found


def _with_sets(value: Any, sets: Mapping[str, list[Any]]) -> Any:
    if isinstance(value, dict):
        return {key: _with_sets(item, sets) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items: list[Any] = []
    for item in value:
        named = isinstance(item, str) and item.startswith("@") and item[1:] in sets
        items += sets[item[1:]] if named else [_with_sets(item, sets)]
    return items
