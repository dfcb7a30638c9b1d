"""A folder of our own for uploads in flight: one private folder per request, removed with it, emptied at start."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.errors import ConfigurationError, InsufficientStorage, Unavailable

log = logging.getLogger(__name__)
_OURS = re.compile(r"(asr|tts)-[a-z0-9_]{8}")


class Spool:
    """Holds `root/<service>-XXXX/` while the service runs; folders that a dead service left are removed at start."""

    def __init__(self, root: Path | None, service: str) -> None:
        base = root or Path(tempfile.gettempdir()) / f"voice-stack-{os.getuid()}"
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            if base.stat().st_uid != os.getuid():
                raise ConfigurationError(f"{base} belongs to another user; set VOICE_STACK_TMP to a folder of your own")
            with (base / ".gate").open("wb") as gate:
                # One service at a time sweeps and makes its folder: a new one must not be swept before it is locked.
                fcntl.flock(gate, fcntl.LOCK_EX)
                self._sweep(base)
                self.path = Path(tempfile.mkdtemp(prefix=f"{service}-", dir=base))
                self._lock = _locked(self.path)
        except OSError as error:
            raise ConfigurationError(f"cannot write to {base}: {error.strerror}; set VOICE_STACK_TMP") from error

    @staticmethod
    def _sweep(base: Path) -> None:
        """Remove our folders whose owner is gone: that of a live one cannot be locked. Nothing else is touched."""
        for folder in base.iterdir():
            if not _OURS.fullmatch(folder.name) or folder.is_symlink():
                continue
            with contextlib.suppress(OSError):
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
                finally:
                    os.close(lock)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Give a request its own folder and remove it, with all that is in it, at the end."""
        try:
            if not self.path.is_dir():
                # Somebody cleaned the temporary folder.
                self.path.mkdir(mode=0o700, parents=True)
                os.close(self._lock)
                self._lock = _locked(self.path)
            path = Path(tempfile.mkdtemp(prefix="r-", dir=self.path))
        except OSError as error:
            raise storage_error(error) from error
        try:
            yield path
        finally:
            # In a thread of its own and not awaited: the request may be cancelled already.
            asyncio.get_running_loop().run_in_executor(None, remove, path)

    def close(self) -> None:
        """Remove the service's folder."""
        remove(self.path)
        os.close(self._lock)


def _locked(path: Path) -> int:
    """Return a descriptor that holds the lock of a folder as long as it is open."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def remove(path: Path) -> None:
    """Remove a folder, saying so in the log when that fails; one that is gone already is fine."""

    def report(_function: object, name: str, info: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            log.warning("cannot remove %s: %s", name, info[1])

    shutil.rmtree(path, onerror=report)


def storage_error(error: OSError) -> Exception:
    """Return InsufficientStorage for a full disk, Unavailable for one that takes nothing, else the error itself."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return InsufficientStorage("the disk for uploads is full; try again later")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}:
        log.error("the folder for uploads cannot be written: %s", error)
        return Unavailable("uploads cannot be stored at the moment; the log of the service says why")
    return error
