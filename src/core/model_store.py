"""The folder that holds pulled models: where each one lies, what was put there, and who may write at the moment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from utils.digest import sha256_of

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """A file as it was installed: path inside the folder, bytes, hash, and the source it came from."""

    path: str
    size: int
    sha256: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a pull put into a model's folder; `missing` are optional files that no source could give."""

    id: str
    engine: str
    licence: str
    licence_accepted: bool
    pulled_at: str
    files: tuple[InstalledFile, ...]
    missing: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def write(self, folder: Path) -> None:
        """Write manifest.json into the folder."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Return the folder's manifest, None when there is none that can be read."""
        try:
            data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            files = tuple(InstalledFile(**file) for file in data.pop("files"))
            return cls(**data | {"files": files, "missing": tuple(data.get("missing", ()))})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Damage:
    """An installed file that is not what was installed; `got` is its hash now, None when it is gone."""

    path: str
    expected: str
    got: str | None


class ModelStore:
    """`<cache>/models/<id>/`, `<cache>/downloads/<id>/` and `<cache>/locks/<id>.lock`. Ids come from the catalogue."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.models = cache / "models"

    def folder(self, model: str) -> Path:
        """Return where the model lies once it is pulled."""
        return self.models / model

    def staging(self, model: str) -> Path:
        """Return the folder beside it in which a pull builds it."""
        return self.models / f".{model}.partial"

    def downloads(self, model: str) -> Path:
        """Return where a pull keeps what it fetched until it is through."""
        return self.cache / "downloads" / model

    def manifest(self, model: str) -> Manifest | None:
        """Return what was pulled, None when the model is not installed."""
        return Manifest.read(self.folder(model))

    def is_installed(self, model: str) -> bool:
        """Return whether a pull of the model went through; the rename at its end makes one look enough."""
        return (self.folder(model) / MANIFEST).is_file()

    def folders(self) -> Iterator[Path]:
        """Yield every folder that may hold a model."""
        if self.models.is_dir():
            yield from sorted(path for path in self.models.iterdir() if path.is_dir() and path.name[0] != ".")

    def having(self, sha256: str) -> Iterator[Path]:
        """Yield files of installed models that had this hash when they were pulled."""
        for folder in self.folders():
            manifest = Manifest.read(folder)
            for file in manifest.files if manifest else ():
                if file.sha256 == sha256:
                    yield folder / file.path

    def verify(self, model: str) -> list[Damage]:
        """Hash every installed file again and return those that differ from the manifest."""
        manifest = self.manifest(model)
        return [Damage(MANIFEST, "", None)] if manifest is None else self._damaged(manifest)

    def _damaged(self, manifest: Manifest) -> list[Damage]:
        damaged = []
        for file in manifest.files:
            path = self.folder(manifest.id) / file.path
            got = sha256_of(path) if path.is_file() else None
            if got != file.sha256:
                damaged.append(Damage(file.path, file.sha256, got))
        return damaged

    def install(self, model: str) -> None:
        """Put the finished staging folder in the model's place. Files that are open or mapped stay readable."""
        folder, old = self.folder(model), self.models / f".{model}.old"
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        self.staging(model).rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    def recover(self, model: str) -> None:
        """Undo what a pull left that was killed: a half-built folder, or one moved aside and not replaced."""
        shutil.rmtree(self.staging(model), ignore_errors=True)
        shutil.rmtree(self.models / f".{model}.removed", ignore_errors=True)
        old = self.models / f".{model}.old"
        if old.exists() and not self.folder(model).exists():
            old.rename(self.folder(model))
        shutil.rmtree(old, ignore_errors=True)

    def remove(self, model: str) -> int:
        """Delete the model and what a pull kept of it; return the bytes that were freed."""
        gone = self.models / f".{model}.removed"
        with suppress(FileNotFoundError):
            self.folder(model).rename(gone)
        places = [gone, self.staging(model), self.downloads(model)]
        freed = sum(path.stat().st_size for place in places for path in place.rglob("*") if path.is_file())
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
        return freed

    @contextmanager
    def lock(self, model: str, *, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the model's lock; `on_wait` is called once when another process has it."""
        path = self.cache / "locks" / f"{model}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
