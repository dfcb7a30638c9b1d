"""What models.toml lays over the catalogue: models of the operator's own, other facts about known ones, and chains."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.model_entry import ModelEntry, ModelRef
from core.model_folder import FolderFacts, detect
from core.model_store import ModelStore
from core.models_file import ModelsFile, OwnModel

_LISTENS = "automatic-speech-recognition"


class Overlay:
    """The contents of models.toml over `entries`, which are the catalogue's by every name in small letters.

    `taken` are names that mean the default model. Raises ConfigurationError, with the line, for names with two
    meanings, for a model of one's own that lacks its engine or task, and for what a model of the catalogue has already.
    """

    def __init__(
        self, file: ModelsFile, entries: Mapping[str, ModelEntry], store: ModelStore, *, taken: Collection[str]
    ) -> None:
        self._file = file
        self._store = store
        self._changes: dict[str, OwnModel] = {}
        self._own: dict[str, tuple[OwnModel, FolderFacts | None]] = {}
        self._by_name: dict[str, str] = {}
        self._written: dict[str, str] = {}
        """What a table is called, by the id of its model."""
        known = {*entries, *taken}
        for id_, model in file.models.items():
            entry = entries.get(id_.casefold())
            if entry is None:
                self._own[id_] = model, self._checked(id_, model)
            elif entry.id in self._changes or {"engine", "task", "path", "url"} & model.model_fields_set:
                raise self._error(id_, f"{id_} is {entry.id} of the catalogue: a model of your own needs another name")
            else:
                self._changes[entry.id] = model
            self._written[entry.id if entry else id_] = id_
            for name in [*([] if entry else [id_]), *model.aliases]:
                if name.casefold() in known:
                    keys = ("aliases",) if name in model.aliases else ()
                    raise self._error(id_, f"the name {name!r} has two meanings", *keys)
                known.add(name.casefold())
                self._by_name[name.casefold()] = entry.id if entry else id_
        self._chains = {name.casefold(): members for name, members in file.chains.items()}

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of the operator's own models."""
        return iter(self._own)

    def __contains__(self, id_: object) -> bool:
        """Return whether a model is one of the operator's own."""
        return id_ in self._own

    @property
    def chains(self) -> tuple[str, ...]:
        """The names of the chains."""
        return tuple(self._file.chains)

    def chain(self, name: str) -> tuple[str, ...]:
        """Return the models that a name means one after the other; none where it is the name of no chain."""
        return self._chains.get(name.strip().casefold(), ())

    @property
    def changed(self) -> tuple[str, ...]:
        """The ids of the models of the catalogue that models.toml says something about."""
        return tuple(self._changes)

    def where(self, id_: str, *keys: str) -> str:
        """Return the place in models.toml of a model, or of a key of its table; `url` is short for an option."""
        model = self._file.models[self._written[id_]]
        if keys == ("options", "url") and "url" not in model.options:
            keys = ("url",)
        return self._file.where("models", self._written[id_], *keys)

    def where_chain(self, name: str) -> str:
        """Return the place in models.toml of a chain."""
        return self._file.where("chains", name)

    def named(self, name: str) -> str | None:
        """Return the id of the model that models.toml gives this name."""
        return self._by_name.get(name.casefold())

    def over(self, ref: ModelRef) -> ModelRef:
        """Return a model of the catalogue with what models.toml says about it."""
        model = self._changes.get(ref.id)
        return ref if model is None else _told(ref, model)

    def own(self, id_: str) -> ModelRef:
        """Return a model of the operator's own; its `path` is None while nothing is there."""
        model, facts = self._own[id_]
        path = self._path(id_, model)
        here = path is not None and path.exists()
        listens = (model.task or (facts.task if facts else None)) == _LISTENS
        ref = ModelRef(
            id=id_,
            task=model.task or (facts.task if facts else ""),
            engine=model.engine or (facts.engine if facts else ""),
            path=path if here else None,
            languages=facts.languages if facts else (),
            sample_rate=facts.sample_rate if facts else None,
            # What nobody knows of a model is left to its engine to refuse.
            translates=facts.translates if facts else listens,
            created=int(path.stat().st_mtime) if path is not None and here else 0,
            weightless=path is None,
        )
        return _told(ref, model)

    def _path(self, id_: str, model: OwnModel) -> Path | None:
        if model.path is not None:
            return model.path
        return next((folder for folder in self._store.folders() if folder.name == id_), None)

    def _checked(self, id_: str, model: OwnModel) -> FolderFacts | None:
        path = self._path(id_, model)
        facts = detect(path) if path is not None and path.exists() else None
        if not (model.engine or facts) and path is None:
            raise self._error(id_, f"{id_} is no model of the catalogue, and a model of your own needs an engine")
        if not (model.engine or facts):
            raise self._error(id_, f"{id_} needs an engine, which its files do not tell")
        if not (model.task or facts):
            hint = f"`voice-stack engines` lists those of the engine {model.engine!r}, if there is one"
            raise self._error(id_, f"{id_} needs a task: asr, tts or diarization; {hint}")
        # Facts that another engine's look at the files brought are none about this model.
        return facts if facts and model.engine in {None, facts.engine} else _task_only(model, facts)

    def _error(self, id_: str, text: str, *keys: str) -> ConfigurationError:
        return ConfigurationError(f"{self._file.where('models', id_, *keys)}: {text}")


def _task_only(model: OwnModel, facts: FolderFacts | None) -> FolderFacts | None:
    if facts is None or model.engine is None:
        return None
    return FolderFacts(engine=model.engine, task=facts.task, translates=(model.task or facts.task) == _LISTENS)


def _told(ref: ModelRef, model: OwnModel) -> ModelRef:
    """Return a model with what its table says."""
    options: dict[str, Any] = {**({"url": model.url} if model.url else {}), **ref.options, **model.options}
    return replace(
        ref,
        options=options,
        aliases=(*ref.aliases, *model.aliases),
        languages=model.languages or ref.languages,
        licence=model.licence or ref.licence,
        sample_rate=model.sample_rate or ref.sample_rate,
        translates=ref.translates if model.translates is None else model.translates,
    )
