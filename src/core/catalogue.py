"""The models there are: what a name means, which of them are installed, and how one gets here and goes again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.errors import ConfigurationError, ModelNotFound, shortened
from core.model_entry import CatalogueData, ModelEntry, ModelRef, read_catalogue
from core.model_folder import detect
from core.model_store import Damage, Manifest, ModelStore
from core.models_file import ModelsFile, own_models
from core.overlay import Overlay
from core.pull import pull
from core.settings import Places
from core.sources.base import Progress, Silent, Source
from core.sources.folder import FolderSource

_DATA = Path(__file__).with_name("catalogue.toml")
_NAMED = 24
"""The most ids of models to pull that one message lists."""
_MORE = (_DATA.with_name("catalogue_crispasr.toml"),)


class Catalogue:
    """The entries of catalogue.toml over one cache folder; reading it imports nothing heavy and needs no network."""

    def __init__(
        self,
        data: CatalogueData,
        cache: Path,
        *,
        mirror: Path | None = None,
        engine: str | None = None,
        own: ModelsFile | None = None,
    ) -> None:
        self.store = ModelStore(cache)
        self._defaults = data.defaults
        self._entries = {entry.id: entry for entry in data.models}
        self._by_name = {name.casefold(): entry for entry in data.models for name in entry.names}
        self._mirror = mirror
        self._outside_engine = None if engine in {entry.engine for entry in data.models} else engine
        taken = {name.casefold() for group in data.defaults.values() for name in group}
        self._overlay = Overlay(own or ModelsFile(), self._by_name, self.store, taken=taken)
        self._check_chains()

    @classmethod
    def of(cls, places: Places, *, engine: str | None = None) -> Catalogue:
        """Return the catalogue of these folders with what MODELS_FILE lays over it; `load` tells of `engine`.

        Raises ConfigurationError for a mistake in that file.
        """
        return cls.load(places.cache, mirror=places.models, engine=engine, own=own_models(places))

    @classmethod
    def load(
        cls,
        cache: Path,
        *,
        mirror: Path | None = None,
        engine: str | None = None,
        own: ModelsFile | None = None,
        data: Path = _DATA,
    ) -> Catalogue:
        """Return the catalogue of the file `data`; ours has a second file, which a script writes.

        Models lie in `cache`; `mirror` is a folder that pulls look into first. `engine` is the service's setting: one
        that no model of the catalogue is for opens every folder that an operator names, and its own name means itself,
        without any weights; so does ENGINE/MODEL, whatever aliases the catalogue has, for an engine that knows MODEL.
        `own` is what models.toml says. Raises ConfigurationError for a mistake in it.
        """
        more = _MORE if data == _DATA else ()
        return cls(read_catalogue(data, *more), cache, mirror=mirror, engine=engine, own=own)

    def entries(self, task: str | None = None) -> list[ModelRef]:
        """Return every model by id: the catalogue's, those of models.toml, then folders put into the cache by hand."""
        refs = [self._reference(entry) for entry in self._entries.values()]
        refs += [self._overlay.own(id_) for id_ in self._overlay]
        known = {ref.id for ref in refs}
        refs += [ref for folder in self.store.folders() if folder.name not in known and (ref := _of_path(folder))]
        return [ref for ref in refs if task in {None, ref.task}]

    def resolve(self, name: str | None, task: str | None = None, *, default: str | ModelRef | None = None) -> ModelRef:
        """Return the model that an operator's name means: an id, an alias, or the path of weights.

        No name, and the names that stand for "the default model", mean `default`. A model that is not installed is
        returned with `path` None. Raises ModelNotFound that lists the ids. Names from the network go to `lookup`.
        """
        if name and task and self._is_outside(name):
            return ModelRef(id=name, task=task, engine=self._outside_engine or "", translates=True, weightless=True)
        if not name or self._named(name):
            return self.lookup(name, task, default=default)
        if name == self._outside_engine and task:
            return ModelRef(id=name, task=task, engine=name, translates=True, weightless=True)
        if path := _as_path(name):
            return self._check_task(self._opened(path, task), task)
        try:
            return self.lookup(name, task, default=default)
        except ModelNotFound as error:
            if engine := self._outside_engine:
                hint = f"one that the engine knows by itself is called {engine}/{shortened(name)}"
                raise ModelNotFound(f"{error.message}; {hint}", param="model") from error
            raise

    def own(self, task: str) -> list[ModelRef]:
        """Return the models of a task that models.toml has a table of."""
        refs = [self._reference(self._entries[id_]) for id_ in self._overlay.changed]
        return [ref for ref in [*map(self._overlay.own, self._overlay), *refs] if ref.task == task]

    def where(self, id_: str, *keys: str) -> str:
        """Return the place in models.toml of one of these models, or of a key of its table."""
        return self._overlay.where(id_, *keys)

    def chain(self, name: str, task: str) -> tuple[str, ...]:
        """Return the names of models that stand in for each other under this name; none where it is no such name.

        Nor where the name, or one of them, is known to be of another task; that of all of them may be unknown.
        """
        members = self._overlay.chain(name)
        return members if members and self._tasks(name, *members) <= {task} else ()

    def chains(self, task: str) -> dict[str, tuple[str, ...]]:
        """Return the chains of a task: the names of their models by the chain's."""
        return {name: members for name in self._overlay.chains if (members := self.chain(name, task))}

    def _check_chains(self) -> None:
        for name in self._overlay.chains:
            where, members = self._overlay.where_chain(name), self._overlay.chain(name)
            if len(tasks := self._tasks(name, *members)) > 1:
                raise ConfigurationError(f"{where}: the chain {name!r} mixes tasks: {', '.join(sorted(tasks))}")
            hidden = self._entries.get(name.casefold()) or (name in self._overlay and self._overlay.own(name))
            if hidden and hidden.id not in {ref.id for member in members if (ref := self._named(member))}:
                raise ConfigurationError(f"{where}: the name {name!r} has two meanings: a model has it as its id")

    def _tasks(self, *names: str) -> set[str]:
        """Return the tasks of the models with these names, as far as they are known; of ENGINE/tts-1 it is."""
        known = {ref.task for name in names if (ref := self._named(name))}
        spoken = {part for name in names for part in (name, name.partition("/")[2])}
        return known | {task for task in self._defaults for name in spoken if self.means_default(name, task)}

    def lookup(self, name: str | None, task: str | None = None, *, default: str | ModelRef | None = None) -> ModelRef:
        """Return the model that a client's name means; as `resolve`, but a name is never taken for a path."""
        wanted = (name or "").strip()
        fallback = self.resolve(default, task) if isinstance(default, str) and default else default or None
        if fallback and (not wanted or self.means_default(wanted, task) or wanted in {default, fallback.id}):
            return fallback
        ref = self._named(wanted)
        if ref is None:
            raise ModelNotFound(
                f"model {shortened(wanted)!r} does not exist; {self._ids(task, fallback)}", param="model"
            )
        ref = self._check_task(ref, task, fallback)
        entry = self._entries.get(ref.id)
        if fallback and fallback.id != ref.id and entry and entry.falls_back and not ref.installed:
            return replace(fallback, stands_in_for=ref.id)
        return ref

    def require(self, ref: ModelRef) -> ModelRef:
        """Return the model if it is installed; ModelNotFound that says how to get it otherwise."""
        if not ref.installed and ref.id in self._overlay:
            raise ModelNotFound(f"model {ref.id!r} is not where models.toml says", param="model")
        if not ref.installed:
            raise ModelNotFound(
                f"model {ref.id!r} is not installed; `voice-stack models pull {ref.id}` gets it", param="model"
            )
        return ref

    def missing(self, model: str) -> tuple[str, ...]:
        """Return the optional files of an installed model that no source could give."""
        manifest = self.store.manifest(model)
        return manifest.missing if manifest else ()

    def pull(
        self,
        name: str,
        *,
        accept_licence: bool = False,
        again: bool = False,
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> Manifest:
        """Install a model; see `core.pull.pull` for what can go wrong.

        `folder` is then the only source: it holds the model's files, or one folder per model id.
        """
        entry = self._entry(name)
        sources: list[Source] = list(entry.sources)
        if folder is not None:
            own = folder / entry.id
            sources = [FolderSource(path=own if own.is_dir() else folder)]
        elif self._mirror is not None:
            sources.insert(0, FolderSource(path=self._mirror / entry.id, named="VOICE_STACK_MODELS"))
        return pull(
            entry,
            self.store,
            sources=sources,
            progress=progress or Silent(),
            accept_licence=accept_licence,
            again=again,
        )

    def verify(self, name: str) -> list[Damage]:
        """Hash an installed model's files again and return what differs; ModelNotFound when it is not installed."""
        entry = self._entry(name)
        self.require(self._reference(entry))
        return [] if entry.weightless else self.store.verify(entry.id)

    def remove(self, name: str, *, progress: Progress | None = None) -> int:
        """Delete an installed model and return the bytes freed; ModelNotFound when there is nothing to delete."""
        ref = self._named(name) or self.lookup(name)
        notify = progress or Silent()
        with self.store.lock(ref.id, on_wait=lambda: notify.note(f"waiting for a pull of {ref.id} to finish")):
            if not (self.store.folder(ref.id).exists() or self.store.downloads(ref.id).exists()):
                raise ModelNotFound(f"model {ref.id!r} is not installed", param="model")
            return self.store.remove(ref.id)

    def _entry(self, name: str) -> ModelEntry:
        wanted = self._overlay.named(name.strip()) or name.strip()
        entry = self._by_name.get(wanted.casefold())
        if wanted in self._overlay:
            raise ModelNotFound(f"model {wanted!r} comes with models.toml, so it cannot be pulled", param="model")
        if entry is None:
            there_are = _some(list(self._entries))
            raise ModelNotFound(
                f"model {shortened(name)!r} is not in the catalogue; there are: {there_are}", param="model"
            )
        return entry

    def _named(self, name: str) -> ModelRef | None:
        """Return the model with this id or alias, else the folder of this name in the cache."""
        wanted = self._overlay.named(name) or name
        if wanted in self._overlay:
            return self._overlay.own(wanted)
        if entry := self._by_name.get(wanted.casefold()):
            return self._reference(entry)
        found = next((folder for folder in self.store.folders() if folder.name == name), None)
        return _of_path(found) if found else None

    def _reference(self, entry: ModelEntry) -> ModelRef:
        ref = ModelRef(
            id=entry.id,
            task=entry.task,
            engine=entry.engine,
            path=self.store.folder(entry.id) if self.store.is_installed(entry.id) else None,
            aliases=entry.aliases,
            languages=entry.languages,
            licence=entry.licence.name,
            owned_by=entry.owned_by,
            created=entry.created,
            sample_rate=entry.sample_rate,
            translates=entry.translates,
            size=entry.size,
            weightless=entry.weightless,
            options=entry.options,
        )
        return self._overlay.over(ref)

    def _opened(self, path: Path, task: str | None) -> ModelRef:
        """Return the model in a folder or a file that an operator named."""
        if self._outside_engine and task:
            outside = self._outside_engine
            ref: ModelRef | None = ModelRef(id=_id_of(path), task=task, engine=outside, path=path, translates=True)
        else:
            ref = _of_path(path)
        if ref:
            # A folder that is called like a model of the catalogue is not that model.
            return replace(ref, id=str(path)) if self._named(ref.id) else ref
        what = "files in the folder" if path.is_dir() else "file"
        if path.is_file() and not path.stat().st_size:
            raise ModelNotFound(f"the file {path.name!r} is empty", param="model")
        hint = "cut short, damaged, or of a kind that docs/engines.md does not have"
        raise ModelNotFound(f"no engine knows the {what} {path.name!r}: {hint}", param="model")

    def _is_outside(self, name: str) -> bool:
        """Return whether a name is that of an engine outside the catalogue and, behind a slash, a model it knows."""
        return bool(self._outside_engine) and name.startswith(f"{self._outside_engine}/") and not _as_path(name)

    def means_default(self, name: str, task: str | None) -> bool:
        """Return whether a name is one of OpenAI's and others' that stands for the default model."""
        wanted = name.strip().casefold()
        return any(wanted in names for of, names in self._defaults.items() if task in {None, of})

    def _check_task(self, ref: ModelRef, task: str | None, default: ModelRef | None = None) -> ModelRef:
        if task in {None, ref.task}:
            return ref
        raise ModelNotFound(f"model {ref.id!r} does {ref.task}; for {task}: {self._ids(task, default)}", param="model")

    def _ids(self, task: str | None, default: ModelRef | None) -> str:
        """Return the models that answer, the default first, which need not be of the catalogue; then those to pull."""
        refs = {ref.id: ref for ref in [*([default] if default else []), *self.entries(task)]}.values()
        here = ", ".join(ref.id for ref in refs if ref.installed) or "none"
        others = [ref.id for ref in refs if not ref.installed and ref.id not in self._overlay]
        return f"installed: {here}" + (f"; can be pulled: {_some(others)}" if others else "")


def _some(ids: Sequence[str]) -> str:
    """Return ids for a message, which stays one that can be read."""
    more = len(ids) - _NAMED
    return ", ".join(ids[:_NAMED]) + (f" and {more} more (`voice-stack models list`)" if more > 0 else "")


def _as_path(name: str) -> Path | None:
    """Return the folder or file a name with a separator in it leads to, None when it leads to none."""
    if not (os.sep in name or name.startswith(("~", "."))):
        return None
    path = Path(name).expanduser()
    return path.resolve() if path.exists() else None


def _of_path(path: Path) -> ModelRef | None:
    facts = detect(path)
    if facts is None:
        return None
    return ModelRef(
        id=_id_of(path),
        task=facts.task,
        engine=facts.engine,
        path=path,
        languages=facts.languages,
        sample_rate=facts.sample_rate,
        translates=facts.translates,
        created=int(path.stat().st_mtime),
    )


def _id_of(path: Path) -> str:
    return path.stem if path.is_file() else path.name
