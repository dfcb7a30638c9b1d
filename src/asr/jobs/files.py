"""The recordings of jobs on the disk: one folder each, there before a job is acknowledged, gone when it is finished."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from core.database import fsync, make_folder
from core.errors import InsufficientStorage, Unavailable
from core.spool import remove, storage_error

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
JOB_ID = re.compile(r"job_[0-9a-f]{32}")
UPLOAD = "upload"
ORPHAN_SECONDS = 3600.0
"""A folder without a job may belong to one that is being submitted, unless it is older than this."""
THREADS = 2


class JobFiles:
    """The folder `root`, which several services may share; one of them at a time holds its lock and does the work."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: int | None = None
        # Its own: disks may be slow, and the loop's few threads are for the uploads that come in.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="job-files")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, which takes its time with the files of jobs, in a thread; what was begun is done to its end."""
        task = asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        return await asyncio.shield(task)

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job; ValueError for what is no id of ours."""
        if not JOB_ID.fullmatch(job_id):
            raise ValueError("not the id of a job")
        return self.root / job_id

    def keep(self, job_id: str, upload: Path) -> None:
        """Take an upload over; it is on the disk when this returns.

        Raises InsufficientStorage when there is no room, Unavailable when the folder cannot be written to.
        """
        folder = self.folder(job_id)
        try:
            make_folder(self.root)
            folder.mkdir(mode=0o700)
            _move(upload, folder / UPLOAD)
            for path in (folder / UPLOAD, folder, self.root):
                fsync(path)
        except OSError as error:
            remove(folder)
            if isinstance(full := storage_error(error), InsufficientStorage):
                raise full from error
            log.error("cannot keep a job in %s: %s", self.root, error)  # noqa: TRY400 - no bug of ours
            raise Unavailable("the service cannot keep jobs; see its log") from error

    def remove(self, job_id: str) -> None:
        """Remove what a job has on the disk."""
        remove(self.folder(job_id))

    def hold(self) -> bool:
        """Take the lock, which lasts until `release` or the end of the process; False while another one has it."""
        if self._lock is not None:
            return True
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def release(self) -> None:
        """Let another process do the work."""
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)

    def ids(self) -> list[str]:
        """Return the ids of the jobs that have a folder."""
        return [path.name for path in self.root.iterdir() if JOB_ID.fullmatch(path.name) and not path.is_symlink()]

    def sweep(self, ids: Sequence[str], unfinished: Mapping[str, bool]) -> None:
        """Remove the folders of those jobs that are finished, and old ones of jobs that `unfinished` does not know."""
        for path in map(self.folder, ids):
            if path.name not in unfinished and _age(path) > ORPHAN_SECONDS:
                log.warning("removing %s, which belongs to no job", path)
                remove(path)
            elif unfinished.get(path.name) is False:
                remove(path)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(source, target)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
