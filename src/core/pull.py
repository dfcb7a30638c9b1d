"""Bringing a model onto this machine: sources in order, every file checked, everything or nothing installed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from core.errors import InsufficientStorage, LicenceNotAccepted, PullFailed
from core.model_entry import ModelEntry
from core.model_store import InstalledFile, Manifest, ModelStore
from core.sources.base import FetchJob, FileSpec, Progress, Source, SourceDown, SourceFailed
from utils.digest import sha256_of

_ALREADY_HERE = "already here"


def pull(
    entry: ModelEntry,
    store: ModelStore,
    *,
    sources: Sequence[Source],
    progress: Progress,
    accept_licence: bool = False,
    again: bool = False,
) -> Manifest:
    """Install a model and return what was installed; one that is installed stays as it is unless `again`.

    Nothing is installed for a model without files: what is returned then is written nowhere.
    `again` keeps every file whose hash is right and fetches the others. A second pull of the same model, from any
    process, waits for the first one. Raises LicenceNotAccepted, InsufficientStorage, and PullFailed that names every
    source and why it failed; nothing is installed then, and what was fetched is used by the next pull.
    """
    if entry.licence.restricted and not accept_licence:
        raise LicenceNotAccepted(
            f"{entry.id} is under a licence that restricts its use ({entry.licence.name}): "
            f"read {entry.licence.url} and, if you agree, run `voice-stack models pull {entry.id} --accept-licence`"
        )
    if entry.weightless:
        return _manifest(entry, ())
    try:
        with store.lock(entry.id, on_wait=lambda: progress.note(f"waiting for another pull of {entry.id} to finish")):
            store.recover(entry.id)
            installed = store.manifest(entry.id)
            if installed and (not again or not (installed.missing or store.verify(entry.id))):
                return installed
            return _Pull(entry, store, installed, progress).run(sources, accepted=accept_licence)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InsufficientStorage(f"{entry.id}: no space left in the model cache") from error
        raise PullFailed(f"{entry.id}: the model cache cannot be written: {error.strerror or error}") from error


class _Pull:
    """One pull in progress: what is still missing, what is in the staging folder, and what went wrong so far."""

    def __init__(self, entry: ModelEntry, store: ModelStore, installed: Manifest | None, progress: Progress) -> None:
        self._entry = entry
        self._store = store
        self._known = {file.path: file for file in installed.files} if installed else {}
        self._progress = progress
        self._staging = store.staging(entry.id)
        self._downloads = store.downloads(entry.id)
        self._missing = {spec.path: spec for spec in entry.files}
        self._records: dict[str, InstalledFile] = {}
        self._failures: list[str] = []
        self._down: set[type[Source]] = set()

    def run(self, sources: Sequence[Source], *, accepted: bool) -> Manifest:
        """Try the sources until nothing is missing, then install."""
        self._check_space()
        self._staging.mkdir(parents=True)
        try:
            self._adopt()
            for source in sources:
                self._try(source)
            self._require()
            manifest = self._manifest(accepted=accepted)
            manifest.write(self._staging)
            self._store.install(self._entry.id)
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
        shutil.rmtree(self._downloads, ignore_errors=True)
        return manifest

    def _check_space(self) -> None:
        """Refuse early when the packages and the files made of them cannot both fit."""
        self._store.models.mkdir(parents=True, exist_ok=True)
        needed = 2 * (self._entry.size or 0)
        if needed > (free := shutil.disk_usage(self._store.models).free):
            raise InsufficientStorage(
                f"pulling {self._entry.id} needs {needed >> 20} MiB in the model cache, {free >> 20} MiB are free"
            )

    def _adopt(self) -> None:
        """Take over files that are right: in the model's folder, whoever put them there, or another model's."""
        for spec in self._entry.files:
            if spec.sha256 and (found := self._here(spec.path, spec.sha256)):
                target = self._staging / spec.path
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(found, target)
                known = self._known.get(spec.path)
                self._record(spec.path, spec.sha256, known.source if known else _ALREADY_HERE)

    def _here(self, path: str, sha256: str) -> Path | None:
        places = (self._store.folder(self._entry.id) / path, *self._store.having(sha256))
        return next((place for place in places if place.is_file() and sha256_of(place) == sha256), None)

    def _try(self, source: Source) -> None:
        wanted = source.wanted(list(self._missing.values()))
        if not wanted or not self._missing or not self._may_mix(wanted):
            return
        if type(source) in self._down:
            self._failures.append(f"{source.label}: not tried, for the same reason")
            return
        arrivals = self._staging / ".arrivals"
        job = FetchJob(wanted=wanted, target=arrivals, downloads=self._downloads, progress=self._progress)
        arrivals.mkdir()
        self._downloads.mkdir(parents=True, exist_ok=True)
        try:
            self._take(source, source.fetch(job), arrivals)
        except SourceFailed as error:
            self._failures.append(f"{source.label}: {error}")
            if isinstance(error, SourceDown):
                self._down.add(type(source))
        finally:
            shutil.rmtree(arrivals, ignore_errors=True)

    def _may_mix(self, wanted: Sequence[FileSpec]) -> bool:
        """Files without a pinned hash belong together: they come from one source, or not at all."""
        return all(spec.sha256 for spec in wanted) or any(not spec.optional for spec in self._missing.values())

    def _take(self, source: Source, files: Sequence[FileSpec], arrivals: Path) -> None:
        """Check all arrivals of a source, then move them; one wrong hash and none is taken."""
        hashes = {spec.path: self._checked(spec, arrivals / spec.path, source) for spec in files}
        if not all(spec.path in self._missing and self._missing[spec.path].sha256 for spec in files):
            self._start_over()
        for path, sha256 in hashes.items():
            target = self._staging / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (arrivals / path).replace(target)
            self._record(path, sha256, source.label)

    def _checked(self, spec: FileSpec, path: Path, source: Source) -> str:
        """Return the file's hash; the pinned one counts, else that of the last pull from here, else the stated one."""
        pinned, known = self._missing.get(spec.path), self._known.get(spec.path)
        recorded = known.sha256 if known and known.source == source.label else None
        expected = (pinned and pinned.sha256) or recorded or spec.sha256
        got = sha256_of(path)
        if expected and got != expected:
            raise SourceFailed(f"wrong hash of {spec.path}: expected sha256 {expected}, got {got}")
        return got

    def _start_over(self) -> None:
        """Drop what other sources gave: the next files are a set of their own."""
        for path in self._records:
            (self._staging / path).unlink()
        self._records.clear()
        self._missing.clear()

    def _record(self, path: str, sha256: str, source: str) -> None:
        size = (self._staging / path).stat().st_size
        self._records[path] = InstalledFile(path, size, sha256, source)
        self._missing.pop(path, None)

    def _require(self) -> None:
        absent = [spec.path for spec in self._missing.values() if not spec.optional]
        absent += [
            glob for glob in self._entry.at_least_one if not any(fnmatchcase(path, glob) for path in self._records)
        ]
        if absent:
            reasons = "; ".join(self._failures) or "no source has it"
            raise PullFailed(f"{self._entry.id} could not be pulled, {', '.join(absent)} is missing: {reasons}")
        if self._missing:
            reasons = "; ".join(self._failures) or "no source has them"
            self._progress.note(f"{len(self._missing)} optional files are not installed: {reasons}")

    def _manifest(self, *, accepted: bool) -> Manifest:
        return _manifest(
            self._entry,
            tuple(self._records[path] for path in sorted(self._records)),
            missing=tuple(sorted(self._missing)),
            accepted=accepted,
        )


def _manifest(
    entry: ModelEntry, files: tuple[InstalledFile, ...], *, missing: tuple[str, ...] = (), accepted: bool = False
) -> Manifest:
    return Manifest(
        id=entry.id,
        engine=entry.engine,
        licence=entry.licence.name,
        licence_accepted=accepted and entry.licence.restricted,
        pulled_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=files,
        missing=missing,
    )


def _link(source: Path, target: Path) -> None:
    """Give a file a second place; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
