"""The models there are: what a name means, which of them are installed, and how one gets here and goes again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from core.errors import ModelNotFound, shortened
from core.model_entry import CatalogueData, ModelEntry, ModelRef, read_catalogue
from core.model_folder import detect
from core.model_store import Damage, Manifest, ModelStore
from core.pull import pull
from core.sources.base import Progress, Silent, Source
from core.sources.folder import FolderSource

_DATA = Path(__file__).with_name("catalogue.toml")


class Catalogue:
    """The entries of catalogue.toml over one cache folder; reading it imports nothing heavy and needs no network."""

    def __init__(
        self, data: CatalogueData, cache: Path, *, mirror: Path | None = None, engine: str | None = None
    ) -> None:
        self.store = ModelStore(cache)
        self._defaults = data.defaults
        self._entries = {entry.id: entry for entry in data.models}
        self._by_name = {name.casefold(): entry for entry in data.models for name in entry.names}
        self._mirror = mirror
        self._outside_engine = None if engine in {entry.engine for entry in data.models} else engine

    @classmethod
    def load(
        cls, cache: Path, *, mirror: Path | None = None, engine: str | None = None, data: Path = _DATA
    ) -> Catalogue:
        """Return the catalogue of the file `data`.

        Models lie in `cache`; `mirror` is a folder that pulls look into first. `engine` is the service's setting: one
        that no model of the catalogue is for opens every folder that an operator names, and its own name means itself,
        without any weights; so does ENGINE/MODEL, whatever aliases the catalogue has, for an engine that knows MODEL.
        """
        return cls(read_catalogue(data), cache, mirror=mirror, engine=engine)

    def entries(self, task: str | None = None) -> list[ModelRef]:
        """Return every model by id: the catalogue's, then folders somebody put into the cache by hand."""
        refs = [self._reference(entry) for entry in self._entries.values()]
        own = [folder for folder in self.store.folders() if folder.name not in self._entries]
        refs += [ref for folder in own if (ref := _of_folder(folder))]
        return [ref for ref in refs if task in {None, ref.task}]

    def resolve(self, name: str | None, task: str | None = None, *, default: str | None = None) -> ModelRef:
        """Return the model that an operator's name means: an id, an alias, or the path of a folder with weights.

        No name, and the names that stand for "the default model", mean `default`. A model that is not installed is
        returned with `path` None. Raises ModelNotFound that lists the ids. Names from the network go to `lookup`.
        """
        if name and task and self._is_outside(name):
            return ModelRef(id=name, task=task, engine=self._outside_engine or "", translates=True, weightless=True)
        if not name or self._named(name):
            return self.lookup(name, task, default=default)
        if name == self._outside_engine and task:
            return ModelRef(id=name, task=task, engine=name, translates=True, weightless=True)
        if folder := _as_folder(name):
            return self._check_task(self._opened(folder, task), task)
        return self.lookup(name, task, default=default)

    def lookup(self, name: str | None, task: str | None = None, *, default: str | None = None) -> ModelRef:
        """Return the model that a client's name means; as `resolve`, but a name is never taken for a path."""
        wanted = (name or "").strip()
        fallback = self.resolve(default, task) if default else None
        if fallback and (not wanted or self._means_default(wanted, task) or wanted in {default, fallback.id}):
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
        entry = self._by_name.get(name.strip().casefold())
        if entry is None:
            raise ModelNotFound(
                f"model {shortened(name)!r} is not in the catalogue; there are: {', '.join(self._entries)}"
            )
        return entry

    def _named(self, name: str) -> ModelRef | None:
        """Return the model with this id or alias, else the folder of this name in the cache."""
        if entry := self._by_name.get(name.casefold()):
            return self._reference(entry)
        own = next((folder for folder in self.store.folders() if folder.name == name), None)
        return _of_folder(own) if own else None

    def _reference(self, entry: ModelEntry) -> ModelRef:
        return ModelRef(
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
        )

    def _opened(self, folder: Path, task: str | None) -> ModelRef:
        """Return the model in a folder an operator named."""
        if self._outside_engine and task:
            return ModelRef(id=folder.name, task=task, engine=self._outside_engine, path=folder, translates=True)
        if ref := _of_folder(folder):
            # A folder that is called like a model of the catalogue is not that model.
            return replace(ref, id=str(folder)) if self._named(ref.id) else ref
        raise ModelNotFound(f"no engine knows the files in the folder {folder.name!r}", param="model")

    def _is_outside(self, name: str) -> bool:
        """Return whether a name is that of an engine outside the catalogue and, behind a slash, a model it knows."""
        return bool(self._outside_engine) and name.startswith(f"{self._outside_engine}/") and not _as_folder(name)

    def _means_default(self, name: str, task: str | None) -> bool:
        return any(name.casefold() in names for of, names in self._defaults.items() if task in {None, of})

    def _check_task(self, ref: ModelRef, task: str | None, default: ModelRef | None = None) -> ModelRef:
        if task in {None, ref.task}:
            return ref
        raise ModelNotFound(f"model {ref.id!r} does {ref.task}; for {task}: {self._ids(task, default)}", param="model")

    def _ids(self, task: str | None, default: ModelRef | None) -> str:
        """Return the models that answer, the default first, which need not be of the catalogue; then those to pull."""
        refs = {ref.id: ref for ref in [*([default] if default else []), *self.entries(task)]}.values()
        here = ", ".join(ref.id for ref in refs if ref.installed) or "none"
        others = ", ".join(ref.id for ref in refs if not ref.installed)
        return f"installed: {here}" + (f"; can be pulled: {others}" if others else "")


def _as_folder(name: str) -> Path | None:
    """Return the folder a name with a separator in it leads to, None when it leads to none."""
    if not (os.sep in name or name.startswith(("~", "."))):
        return None
    folder = Path(name).expanduser()
    return folder.resolve() if folder.is_dir() else None


def _of_folder(folder: Path) -> ModelRef | None:
    facts = detect(folder)
    if facts is None:
        return None
    return ModelRef(
        id=folder.name,
        task=facts.task,
        engine=facts.engine,
        path=folder,
        languages=facts.languages,
        sample_rate=facts.sample_rate,
        translates=facts.translates,
        created=int(folder.stat().st_mtime),
    )
