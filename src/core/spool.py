"""A folder of our own for uploads in flight: one private folder per request, removed with it, emptied at start."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from core.errors import ConfigurationError, InsufficientStorage

log = logging.getLogger(__name__)
_LOCK = "lock"


class Spool:
    """Holds `root/<service>-XXXX/` while the service runs; folders that a dead service left are removed at start."""

    def __init__(self, root: Path | None, service: str) -> None:
        base = root or Path(tempfile.gettempdir()) / f"voice-stack-{os.getuid()}"
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            if base.stat().st_uid != os.getuid():
                raise ConfigurationError(f"{base} belongs to another user; set VOICE_STACK_TMP to a folder of your own")
            self._sweep(base)
            self.path = Path(tempfile.mkdtemp(prefix=f"{service}-", dir=base))
            self._lock = (self.path / _LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError as error:
            raise ConfigurationError(f"cannot write to {base}: {error.strerror}; set VOICE_STACK_TMP") from error

    @staticmethod
    def _sweep(base: Path) -> None:
        """Remove the folders whose owner is gone: the lock of a live one cannot be taken."""
        for folder in base.iterdir():
            try:
                with (folder / _LOCK).open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            except OSError:
                continue

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Give a request its own folder and remove it, with all that is in it, at the end."""
        try:
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
        self._lock.close()


def remove(path: Path) -> None:
    """Remove a folder, saying so in the log when that fails; one that is gone already is fine."""

    def report(_function: object, name: str, info: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            log.warning("cannot remove %s: %s", name, info[1])

    shutil.rmtree(path, onerror=report)


def storage_error(error: OSError) -> Exception:
    """Return InsufficientStorage for a full disk, the error itself for anything else."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return InsufficientStorage("the disk for uploads is full; try again later") if full else error
