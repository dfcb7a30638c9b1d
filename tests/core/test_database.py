"""A database that keeps its word: commits, roll-backs, and what becomes of it when the file or the disk goes wrong."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.database import Database, make_folder
from core.errors import InsufficientStorage, Unavailable

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL UNIQUE)"
Make = Callable[..., Database]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made = []

    def database(version: int = 1, busy_seconds: float = 0.05) -> Database:
        path = tmp_path / "notes" / "notes.db"
        made.append(Database(path, schema=SCHEMA, version=version, busy_seconds=busy_seconds))
        return made[-1]

    yield database
    for one in made:
        one.close()


def note(database: Database, text: str) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))


def notes(database: Database) -> list[str]:
    with database.read() as connection:
        return [row["text"] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]


def test_nothing_is_made_before_it_is_needed(make: Make) -> None:
    database = make()
    assert not database.exists
    assert not database.path.parent.exists()
    note(database, "one")
    assert database.exists
    assert database.path.parent.stat().st_mode & 0o077 == 0


def others_rights(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())}


def test_all_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "notes"
    database = Database(folder / "notes.db", schema=SCHEMA, version=1)
    before = os.umask(0)
    try:
        note(database, "one")
        closed = dict.fromkeys(("notes", "notes.db", "notes.db-wal", "notes.db-shm"), 0)
        assert others_rights(folder) == closed
        assert folder.parent.stat().st_mode & 0o077 == 0, "the folder above was made, too"
        database.path.unlink()
        note(database, "two")
        assert others_rights(folder) == closed
    finally:
        os.umask(before)
        database.close()


def test_what_was_open_to_others_is_closed_at_once(make: Make) -> None:
    database = make()
    note(database, "one")
    folder = database.path.parent
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    again = make()
    assert set(others_rights(folder).values()) == {0}
    assert notes(again) == ["one"]


def test_a_commit_is_seen_by_whoever_opens_the_file_next(make: Make) -> None:
    first = make()
    note(first, "one")
    assert notes(make()) == ["one"], "the first one is still open"
    first.close()
    assert notes(first) == ["one"]


def test_every_commit_goes_to_the_disk(make: Make) -> None:
    with make().read() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_block_that_raises_changes_nothing(make: Make) -> None:
    database = make()
    note(database, "one")
    with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
        connection.executemany("INSERT INTO notes VALUES (?)", [("two",), ("one",)])
    with pytest.raises(sqlite3.IntegrityError):
        note(database, "one")
    assert notes(database) == ["one"]


def test_a_locked_file_is_unavailable_and_works_again_afterwards(make: Make) -> None:
    database = make()
    note(database, "one")
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match="in use"):
        note(database, "two")
    other.close()
    note(database, "two")
    assert notes(database) == ["one", "two"]


def test_a_full_disk_is_told_and_changes_nothing(make: Make) -> None:
    database = make()
    note(database, "one")
    with database.read() as connection:
        connection.execute("PRAGMA max_page_count = 4")
    with pytest.raises(InsufficientStorage):
        note(database, "x" * 100_000)
    with database.read() as connection:
        connection.execute("PRAGMA max_page_count = 4000")
    note(database, "two")
    assert notes(database) == ["one", "two"]


def test_a_deleted_file_is_written_again(make: Make) -> None:
    database = make()
    note(database, "one")
    for path in database.path.parent.iterdir():
        path.unlink()
    note(database, "two")
    database.close()
    assert notes(make()) == ["one", "two"]


def test_a_replaced_file_is_read_from_then_on(make: Make, tmp_path: Path) -> None:
    database = make()
    note(database, "one")
    copy = tmp_path / "copy.db"
    with database.read() as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    note(database, "two")
    for leftover in ("notes.db-wal", "notes.db-shm"):
        (database.path.parent / leftover).unlink()
    copy.replace(database.path)
    assert notes(database) == ["one"]


@pytest.mark.parametrize("rubbish", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_is_refused_and_left_alone(make: Make, rubbish: bytes) -> None:
    database = make()
    database.path.parent.mkdir()
    database.path.write_bytes(rubbish)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"notes\.db"):
            notes(database)
    assert database.path.read_bytes() == rubbish


def test_a_file_of_another_version_is_refused(make: Make) -> None:
    note(make(2), "one")
    with pytest.raises(Unavailable, match="another version"):
        notes(make(1))
    assert notes(make(2)) == ["one"]


def test_a_folder_that_cannot_be_made_is_unavailable(make: Make) -> None:
    database = make()
    database.path.parent.write_text("a file")
    with pytest.raises(Unavailable):
        note(database, "one")


def test_a_snapshot_is_one_state(make: Make) -> None:
    database, other = make(), make()
    note(database, "one")
    with database.snapshot() as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone()[0] == 1
        note(other, "two")
        assert connection.execute("SELECT count(*) FROM notes").fetchone()[0] == 1
    assert notes(database) == ["one", "two"]


def test_whoever_waits_for_another_call_does_not_wait_for_ever(make: Make) -> None:
    database = make()
    note(database, "one")
    with ThreadPoolExecutor(1) as threads, database.read(), pytest.raises(Unavailable, match="in use"):
        threads.submit(note, database, "two").result(timeout=5)
    assert notes(database) == ["one"]


async def test_calls_have_a_thread_of_their_own_and_do_not_add_up(make: Make) -> None:
    database = make()
    await database.run(note, database, "one")
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go_on.wait(10)
        return threading.current_thread().name

    default = ThreadPoolExecutor(1, thread_name_prefix="default")
    asyncio.get_running_loop().set_default_executor(default)
    first = asyncio.create_task(database.run(slow))
    await asyncio.to_thread(begun.wait, 10)
    refused = await asyncio.gather(*(database.run(note, database, "two") for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in refused} == {Unavailable}
    go_on.set()
    assert await first == "notes_0"
    assert await database.run(notes, database) == ["one"], "what was refused is not done later"


async def test_what_was_begun_for_somebody_who_left_is_done(make: Make) -> None:
    database = make(busy_seconds=10)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(10)
        note(database, "one")

    task = asyncio.create_task(database.run(slow))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await database.run(notes, database) == ["one"]


def test_the_names_of_all_new_folders_go_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    make_folder(tmp_path / "a" / "b")
    assert set(synced) == {tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino}
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2
