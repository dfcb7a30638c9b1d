"""Files of a repository on the model hub."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from core.sources.base import FetchJob, FileSpec, Source, SourceFailed, expand, watch


class HubSource(Source):
    """A repository at a revision (None: the hub's default branch).

    `root` is the repository's folder that holds our files; `rename` maps our paths to other ones under it.
    """

    kind: Literal["hub"]
    repo: str
    revision: str | None = None
    root: str = ""
    rename: dict[str, str] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """The repository and its revision."""
        return f"hub {self.repo}" + (f"@{self.revision}" if self.revision else "")

    def fetch(self, job: FetchJob) -> tuple[FileSpec, ...]:
        """Compare the hub's hashes with ours first, so that nothing is downloaded in vain."""
        from core.sources import hub_client  # noqa: PLC0415 - imports the hub's library

        commit, files = hub_client.listing(self.repo, self.revision)
        remote = {ours: file for file in files if (ours := self._ours(file.path)) is not None}
        plan = [(_stated(spec, name, remote[name]), remote[name]) for spec, name in expand(job.wanted, list(remote))]
        if not plan:
            raise SourceFailed("has none of the files")
        job.progress.begin(self.label, sum(file.size or 0 for _, file in plan) or None)
        folder = job.downloads / "hub" / self.repo.replace("/", "--")
        folder.mkdir(parents=True, exist_ok=True)
        with watch(folder, job.progress):
            # All first, then moved: what one attempt fetched is there for the next.
            paths = [hub_client.download(self.repo, file.path, commit or self.revision, folder) for _, file in plan]
        for (spec, _), path in zip(plan, paths, strict=True):
            path.replace(job.place(spec.path))
        return tuple(spec for spec, _ in plan)

    def _ours(self, remote: str) -> str | None:
        """Return our path for a file of the repository, None for one outside `root`."""
        path = PurePosixPath(remote)
        if ".." in path.parts or path.is_absolute() or not path.is_relative_to(self.root):
            return None
        inside = path.relative_to(self.root).as_posix()
        return next((ours for ours, theirs in self.rename.items() if theirs == inside), inside)


def _stated(spec: FileSpec, name: str, file: FileSpec) -> FileSpec:
    """Return the file as the hub states it; a stated hash that is not the pinned one is refused here."""
    if spec.sha256 and file.sha256 and file.sha256 != spec.sha256:
        raise SourceFailed(f"wrong hash of {name}: expected sha256 {spec.sha256}, got {file.sha256}")
    digest = spec.sha256 or file.sha256
    return FileSpec(path=name, size=file.size, sha256=digest, verified=digest is not None, optional=spec.optional)
