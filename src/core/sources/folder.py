"""Files in a folder of this machine: a mirror carried over by hand, for machines without any network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from core.sources.base import FetchJob, FileSpec, Source, SourceFailed, expand


class FolderSource(Source):
    """A folder with the files of one model; it is left as it is."""

    kind: Literal["local"] = "local"
    path: Path
    named: str = "local folder"

    @property
    def label(self) -> str:
        """How the folder was named; not where it is."""
        return self.named

    def fetch(self, job: FetchJob) -> tuple[FileSpec, ...]:
        """Copy what is there."""
        root = self.path
        if not root.is_dir():
            raise SourceFailed(f"has no folder {root.name}")
        names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
        plan = expand(job.wanted, names)
        if not plan:
            raise SourceFailed("has none of the files")
        job.progress.begin(self.label, sum((root / name).stat().st_size for _, name in plan))
        copied = 0
        for _, name in plan:
            if not os.access(root / name, os.R_OK):
                raise SourceFailed(f"{name} cannot be read")
            copied += shutil.copyfile(root / name, job.place(name)).stat().st_size
            job.progress.advance(copied)
        return tuple(spec if spec.sha256 else spec.model_copy(update={"path": name}) for spec, name in plan)
