"""docs/configuration.md and .env.example, made from the fields of the settings classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from asr.diarization.engine_factory import TABLE as DIARIZATION_TABLE
from asr.diarization.engine_factory import registry as diarizers
from asr.engine_factory import TABLE as ASR_TABLE
from asr.engine_factory import registry as asr_engines
from asr.settings import AsrSettings
from core.registry import PLUGINS_VARIABLE, EngineRegistry
from core.settings import Places, ServiceSettings
from tts.engine_factory import TABLE as TTS_TABLE
from tts.engine_factory import registry as tts_engines
from tts.settings import TtsSettings

WORDS: dict[Any, str] = {
    bool: "true, false",
    int: "integer",
    float: "number",
    tuple: "list, separated by commas",
    dict: "options",
    Path: "folder",
}
FILES = ("_FILE", "__CODEC")
"""How the names of paths that lead to a file end."""
HEAD = ("name", "default", "values", "meaning")
INTRO = """\
Settings are read from the environment, then from a file `.env` in the current folder (`.env.example` lists every
name; copy it and uncomment what you change). An empty value means unset. Names that start with `ASR_`, `DIARIZATION_`
or `TTS_` and that nothing reads are reported at start."""
OTHER = f"""\
`{PLUGINS_VARIABLE}`: engines that other installed packages bring. `off` ignores all of them, `a,b` admits those named;
unset admits every one."""
ENGINE_OPTIONS = """\
Options that belong to one engine. They apply to the service's engine and are refused at start when the engine does not
know them; [engines.md](engines.md) says which engine is for what."""


class Setting:
    """One environment name: how its field reads in a table and in a .env file."""

    def __init__(self, name: str, *fields: FieldInfo) -> None:
        self.name = name
        self.field = fields[0]
        self.description = self.field.description or ""
        self.defaults = list(dict.fromkeys(_default(field) for field in fields))

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        shown = " / ".join(f"`{value}`" for value in self.defaults if value)
        return (f"`{self.name}`", shown, self.allowed, self.description)

    @property
    def allowed(self) -> str:
        """The allowed values, in words; the field's examples are those that its type does not say."""
        signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
        rules = self.field.metadata
        limits = [f"{signs[key]} {getattr(rule, key):g}" for rule in rules for key in signs if hasattr(rule, key)]
        words = "file" if self.name.endswith(FILES) else kind(self.field.annotation)
        told = ", ".join(["required", words][not self.field.is_required() :] + limits)
        return " or ".join([told, *map(str, self.field.examples or ())])

    def env(self) -> str:
        """Return the lines of .env.example."""
        value = self.defaults[0] if len(self.defaults) == 1 else ""
        return f"# {self.description} [{self.allowed}]\n# {self.name}={value}\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required() or field.default_factory or value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def kind(annotation: Any) -> str:
    """Return what an annotation admits, in words."""
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(str(value) for value in get_args(annotation))
    if origin in {Union, UnionType}:
        return kind(next(part for part in get_args(annotation) if part is not type(None)))
    return WORDS.get(origin or annotation, "text")


def _named(settings: type[BaseModel]) -> dict[str, FieldInfo]:
    return {str(field.validation_alias): field for field in settings.model_fields.values() if field.validation_alias}


def groups() -> Iterator[tuple[str, list[Setting]]]:
    """Yield the groups of settings: a title, then its settings. A name both services share has both defaults."""
    shared, asr, tts = _named(ServiceSettings), _named(AsrSettings), _named(TtsSettings)
    yield "Both services", [Setting(name, asr[name], tts[name]) for name in shared]
    yield "ASR service", [Setting(name, field) for name, field in asr.items() if name not in shared]
    yield "TTS service", [Setting(name, field) for name, field in tts.items() if name not in shared]
    yield "Places", [Setting(name, field) for name, field in _named(Places).items()]


def engine_options() -> Iterator[tuple[str, str, list[Setting]]]:
    """Yield the engines of ours that have options of their own: a title, what the options are about, the options."""
    kinds: tuple[tuple[str, str, Iterable[str], EngineRegistry[Any]], ...] = (
        ("ASR", "ASR", ASR_TABLE, asr_engines()),
        ("Diarization", "DIARIZATION", DIARIZATION_TABLE, diarizers()),
        ("TTS", "TTS", TTS_TABLE, tts_engines()),
    )
    for kind_of, prefix, names, registry in kinds:
        for name in names:
            options = registry.get(name).Options
            found = [Setting(f"{prefix}_ENGINE_OPTIONS__{key.upper()}", f) for key, f in options.model_fields.items()]
            if found:
                yield f"{kind_of} engine `{name}`", " ".join((options.__doc__ or "").split()), found


def table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def configuration(mark: str) -> str:
    """Return docs/configuration.md."""
    parts = ["# Configuration", f"<!-- {mark} -->", INTRO]
    parts += [f"## {title}\n\n{table(HEAD, [one.row() for one in found])}" for title, found in groups()]
    parts += ["## Plug-ins", OTHER, "## Engine options", ENGINE_OPTIONS]
    for title, about, found in engine_options():
        parts.append(f"### {title}\n\n{about}\n\n{table(HEAD, [one.row() for one in found])}")
    return "\n\n".join(parts) + "\n"


def env_example(mark: str) -> str:
    """Return .env.example."""
    head = f"# {mark}\n# Copy to .env and uncomment what you change; the values shown are the defaults.\n"
    sections = [f"\n# === {title} ===\n\n" + "\n".join(one.env() for one in found) for title, found in groups()]
    return head + "".join(sections)
