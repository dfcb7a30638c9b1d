"""models.toml: the operator's own models, options of those of the catalogue, and which stand in for each other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, field_validator

from core import model_options
from core.errors import ConfigurationError
from core.model_entry import Task
from core.settings import Places
from core.sources.base import Data

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name) or ".." in name.split("/"):
        raise ValueError("a name begins with a letter or a digit; letters, digits and . _ : / - follow, no part is ..")
    return name


_Id = Annotated[str, AfterValidator(_named)]
_Name = Annotated[str, Field(min_length=1)]
_SHORT: dict[str, Task] = {
    "asr": "automatic-speech-recognition",
    "tts": "text-to-speech",
    "diarization": "speaker-diarization",
}


class OwnModel(Data):
    """A table `[models.ID]`: a model of the operator's own, or what is different about one of the catalogue.

    `path` is a folder or file, from the folder of models.toml on. `url` is where the server of a remote engine answers:
    the option of that name. A model with neither, which no folder of the cache is called like, is an engine that needs
    no files. Engine and task need not be given where the files tell them.
    """

    engine: str | None = None
    task: Task | None = None
    path: Path | None = None
    url: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    aliases: tuple[_Id, ...] = ()
    languages: tuple[str, ...] = ()
    licence: str | None = None
    sample_rate: int | None = Field(default=None, gt=0)
    translates: bool | None = None

    @field_validator("task", mode="before")
    @classmethod
    def _long_name(cls, value: Any) -> Any:
        return _SHORT.get(value, value) if isinstance(value, str) else value

    @field_validator("options", mode="before")
    @classmethod
    def _either_spelling(cls, value: Any) -> Any:
        return model_options.parse(value)


class _Contents(Data):
    models: dict[_Id, OwnModel] = Field(default_factory=dict)
    chains: dict[_Id, Annotated[tuple[_Name, ...], Field(min_length=1)]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsFile:
    """What models.toml says; `path` is None where there is no such file."""

    models: Mapping[str, OwnModel] = field(default_factory=dict)
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    path: Path | None = None
    text: str = ""

    def where(self, *keys: str) -> str:
        """Return the file's name and the line that these keys, one inside the other, are on."""
        return f"{self.path.name if self.path else 'models.toml'}, line {_line(self.text, keys)}"


def own_models(places: Places) -> ModelsFile:
    """Return what MODELS_FILE says; see `read_models_file`."""
    return read_models_file(places.models_file, required="models_file" in places.model_fields_set)


def read_models_file(path: Path, *, required: bool = False) -> ModelsFile:
    """Read models.toml, which need not be there unless it is `required`.

    Raises ConfigurationError with the line for what cannot be read: wrong TOML, unknown keys, wrong values.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows puts a mark in front
        raw = tomllib.loads(text)
    except FileNotFoundError:
        if required:
            raise ConfigurationError(f"MODELS_FILE: there is no file {path}") from None
        return ModelsFile()
    except RecursionError:
        raise ConfigurationError(f"{path.name} cannot be read: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error}") from error
    try:
        contents = _Contents.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(_complaint(error, ModelsFile(path=path, text=text))) from error
    folder = path.absolute().parent
    models = {id_: _placed(model, folder) for id_, model in contents.models.items()}
    return ModelsFile(models=models, chains=contents.chains, path=path, text=text)


def _placed(model: OwnModel, folder: Path) -> OwnModel:
    return model if model.path is None else model.model_copy(update={"path": folder / model.path.expanduser()})


def _complaint(error: ValidationError, file: ModelsFile) -> str:
    first = error.errors(include_url=False)[0]
    keys = tuple(str(part) for part in first["loc"] if part != "[key]")
    dotted = keys[:1] == ("chains",) and isinstance(first["input"], dict)
    unknown = first["type"] == "extra_forbidden"
    what = first["msg"].removeprefix("Value error, ").replace("tuple", "list").replace("Tuple", "The list")
    if unknown or dotted:
        what = ("unknown key" if unknown else what) + " (a name with a dot in it is written in quotes)"
    return f"{file.where(*keys)}: {'.'.join(keys)}: {what}"


def _line(text: str, keys: tuple[str, ...]) -> int:
    """Return the number of the line that comes closest to what the keys lead to; the parser does not tell."""
    table: tuple[str, ...] = ()
    depth, found = 0, 1
    for number, line in enumerate(text.splitlines(), 1):
        at = _keys_of(line)
        if line.lstrip().startswith("["):
            table, at = at, ()
        alike = [ours == theirs for ours, theirs in zip(table + at, keys, strict=False)]
        common = [*alike, False].index(False)
        if common > depth:
            depth, found = common, number
    return found


def _keys_of(line: str) -> tuple[str, ...]:
    """Return the keys that a line is about: those of a table's head, or those before a "="."""
    is_head = line.lstrip().startswith("[")
    try:
        data: Any = tomllib.loads(line if is_head else f"{line.partition('=')[0]} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    keys: list[str] = []
    while isinstance(data, dict) and data:
        key, data = next(iter(data.items()))
        keys.append(key)
    return tuple(keys)
