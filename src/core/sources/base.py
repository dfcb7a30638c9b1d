"""What a source of model files is, and what it is given and gives back; it decides nothing about hashes."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from threading import Event, Thread
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CONNECT_TIMEOUT = 5
"""Seconds until a source that does not answer is given up."""
_REPORT_EVERY = 0.2


class SourceFailed(Exception):
    """The source cannot give the files; the text says why, in half a sentence."""


class SourceDown(SourceFailed):
    """Nothing of this kind can be had from here (no client, no network); its siblings need not be tried."""


class Progress(Protocol):
    """Who is told how a pull gets on; called from one thread at a time."""

    def begin(self, what: str, total: int | None) -> None:
        """Start a new step of `total` bytes, None when not known."""

    def advance(self, done: int) -> None:
        """Say how many bytes of the step are there."""

    def note(self, text: str) -> None:
        """Say something worth a line."""


class Silent:
    """The Progress of callers that do not want any."""

    def begin(self, what: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self, done: int) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


class Data(BaseModel):
    """Base of what is read from catalogue.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileSpec(Data):
    """One file of a model: `path` inside its folder, `size` in bytes.

    Without a `sha256` (nobody read it: `verified = false`) the path may be a pattern such as `vocabulary.*`.
    """

    path: str
    size: int | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    verified: bool = True
    optional: bool = False

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in value:
            raise ValueError(f"{value!r} is not a path inside the model's folder")
        return value

    @model_validator(mode="after")
    def _hash_or_not(self) -> FileSpec:
        if self.verified == (self.sha256 is None):
            raise ValueError(f"{self.path}: give a sha256, or verified = false")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchJob:
    """What a source is asked for: put `wanted` files under `target`; keep downloads in `downloads`."""

    wanted: tuple[FileSpec, ...]
    target: Path
    downloads: Path
    progress: Progress

    def place(self, path: str) -> Path:
        """Return where a file goes, with its folder made."""
        target = self.target / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


class Source(Data, ABC):
    """One place a model's files come from; sources of a model are tried in order.

    `provides` are patterns over the model's files. A source whose files differ from the pinned ones has `files` of its
    own, without hashes.
    """

    provides: tuple[str, ...] = ("*",)
    files: tuple[FileSpec, ...] = ()

    @property
    @abstractmethod
    def label(self) -> str:
        """Name of the source for messages and the manifest."""

    @abstractmethod
    def fetch(self, job: FetchJob) -> tuple[FileSpec, ...]:
        """Put the wanted files in place and return them, each with the hash the source states, if it does.

        Raises SourceFailed; what is in `job.target` then is thrown away.
        """

    def wanted(self, missing: Sequence[FileSpec]) -> tuple[FileSpec, ...]:
        """Return those of the missing files that this source has."""
        if self.files:
            return self.files
        return tuple(spec for spec in missing if any(fnmatchcase(spec.path, glob) for glob in self.provides))


def expand(specs: Iterable[FileSpec], available: Sequence[str]) -> list[tuple[FileSpec, str]]:
    """Return (spec, name) for every available name that a wanted path or pattern matches.

    Raises SourceFailed when nothing matches a file that is not optional.
    """
    found: list[tuple[FileSpec, str]] = []
    for spec in specs:
        names = [spec.path] if spec.sha256 else [name for name in available if fnmatchcase(name, spec.path)]
        names = [name for name in names if name in available]
        if not names and not spec.optional:
            raise SourceFailed(f"has no {spec.path}")
        found += [(spec, name) for name in names]
    return found


def folder_size(folder: Path) -> int:
    """Return the bytes in a folder whose files may come and go meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):  # passes over folders that go meanwhile, unlike Path.rglob
        for name in names:
            with suppress(OSError):
                total += Path(root, name).lstat().st_size
    return total


@contextmanager
def watch(folder: Path, progress: Progress) -> Iterator[None]:
    """Report the growth of a folder while somebody else's client downloads into it."""
    stop = Event()

    def report() -> None:
        while not stop.wait(_REPORT_EVERY):
            progress.advance(folder_size(folder))

    thread = Thread(target=report, daemon=True, name="pull-progress")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
