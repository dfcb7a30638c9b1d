"""A private SQLite file that keeps what it acknowledged: WAL, every commit on the disk, errors told as ours."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from core import errors

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
BUSY_SECONDS = 5.0
"""How long a call waits for those before it, and then for another process's transaction, before it answers 503."""
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Database:
    """One connection to the file at `path`, opened (and made, by `schema`) when it is first needed.

    File and folder are for their owner alone; those that were open to others are closed to them at once.
    A file that is deleted under it is written again with all that was in it, without `rescue` empty.
    Every call but `run` blocks, and may be made from any thread. Raises InsufficientStorage for a full disk and
    Unavailable for a file that is locked, damaged, unreadable or of a newer `version` of this program.
    """

    def __init__(
        self, path: Path, *, schema: str, version: int, rescue: bool = True, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.path = path
        self._rescue = rescue
        self._busy_seconds = busy_seconds
        self._schema = schema
        self._version = version
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._lock = threading.Lock()
        # Its own: whoever waits for a locked file must not keep the loop's few threads from everybody else.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.stem)
        _close_to_others(path)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, which uses this database, in its thread; Unavailable when others kept that busy all the time.

        What was begun is done to its end, also for a caller that is cancelled.
        """
        waiting = self._thread.submit(work, *args, **kwargs)
        future = asyncio.wrap_future(waiting)
        try:
            async with asyncio.timeout(self._busy_seconds):
                return await asyncio.shield(future)
        except TimeoutError:
            if waiting.cancel():
                raise self._busy() from None
        return await asyncio.shield(future)

    @property
    def exists(self) -> bool:
        """Whether there is anything to read."""
        return self._connection is not None or self.path.is_file()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that is on the disk when the block ends, and undone when it raises."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give a connection to read with, whose statements all see the same state."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection to read with; statements may see different states."""
        with self._locked(), self._translated():
            yield self._open()

    def empty_log(self) -> bool:
        """Empty the log, which keeps what was deleted until then; False while another process reads the file."""
        with self.read() as connection:
            busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._locked():
            self._disconnect()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._locked(), self._translated():
            connection = self._open()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk rolls back by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock. Not waited for without end: each of those before may wait for the file itself."""
        if not self._lock.acquire(timeout=self._busy_seconds):
            raise self._busy()
        try:
            yield
        finally:
            self._lock.release()

    def _busy(self) -> errors.Unavailable:
        return errors.Unavailable(f"{self.path.name} is in use; try again")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity != _identity(self.path):
            self._save()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _save(self) -> None:
        """Write a file that was deleted under us again, if it is to be; one that was replaced is read from now on."""
        assert self._connection is not None  # noqa: S101 - only called with one
        try:
            if not self.path.exists():
                log.error("%s was deleted while it was in use; making it again", self.path.name)
                for leftover in ("-wal", "-shm"):
                    self.path.with_name(self.path.name + leftover).unlink(missing_ok=True)
                if self._rescue:
                    _make_file(self.path)
                    self._connection.execute("VACUUM INTO ?", (str(self.path),))
        finally:
            self._disconnect()

    def _connect(self) -> sqlite3.Connection:
        make_folder(self.path.parent)
        _make_file(self.path)
        _close_to_others(self.path)
        connection = sqlite3.connect(
            self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            # FULL: with NORMAL a commit may be lost when the power goes.
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
                connection.execute(f"PRAGMA {pragma}")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("the file is damaged")
            self._create(connection)
            self._identity = _identity(self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found == self._version:
            return
        if found:
            log.error("%s has version %d, this program reads version %d", self.path, found, self._version)
            raise errors.Unavailable(f"{self.path.name} was written by another version of voice-stack")
        # Two processes may make it at once: the second finds the tables there.
        connection.executescript(f"BEGIN IMMEDIATE; {self._schema}; PRAGMA user_version = {self._version}; COMMIT")
        fsync(self.path.parent)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._error(error) from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise errors.InsufficientStorage("the disk is full; try again later") from error
            log.error("%s cannot be used: %s", self.path, error)  # noqa: TRY400 - no bug of ours
            raise errors.Unavailable(f"{self.path.name} cannot be used; see the log of the service") from error

    def _error(self, error: sqlite3.Error) -> errors.VoiceStackError:
        # Extended codes keep the plain one in their last byte.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return errors.InsufficientStorage("the disk is full; try again later")
        if code in _BUSY:
            return self._busy()
        log.error("%s cannot be used: %s", self.path, error)
        # What was read before may be wrong too: the next call looks at the file anew.
        self._disconnect()
        return errors.Unavailable(f"{self.path.name} cannot be used; see the log of the service")


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a private folder and what is missing above it, as private; all names are on the disk when this returns."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(made):  # with `parents`, mkdir would make those above with the umask's mode
        folder.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    for folder in made:
        fsync(folder.parent)


def _make_file(path: Path) -> None:
    """Make an empty file for its owner alone, where there is none; SQLite gives its log the mode of the file."""
    # Only what is new is opened: closing any descriptor of a file ends the locks that SQLite holds on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _close_to_others(path: Path) -> None:
    """Take everybody else's rights to a database, its log and its folder away, as far as they are ours."""
    if not path.is_file():
        return
    for each in (path.parent, *(path.with_name(path.name + end) for end in ("", "-wal", "-shm"))):
        # A sticky folder, as /tmp, is everybody's. What cannot be changed still works.
        with contextlib.suppress(OSError):
            facts = each.stat()
            if facts.st_mode & 0o077 and facts.st_uid == os.geteuid() and not facts.st_mode & stat.S_ISVTX:
                each.chmod(stat.S_IMODE(facts.st_mode) & 0o700)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
