"""Where the recordings of jobs lie: taken over whole, one worker at a time, swept when nobody needs them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from asr.jobs.files import JobFiles
from core.errors import InsufficientStorage, Unavailable

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a second file system
ONE, TWO, THREE = (f"job_{digit * 32}" for digit in "123")


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path / "state" / "jobs")


def upload(tmp_path: Path, content: bytes = b"sound") -> Path:
    path = tmp_path / "spooled"
    path.write_bytes(content)
    return path


def test_an_upload_is_taken_over(files: JobFiles, tmp_path: Path) -> None:
    source = upload(tmp_path)
    files.keep(ONE, source)
    assert (files.folder(ONE) / "upload").read_bytes() == b"sound"
    assert not source.exists()
    assert files.folder(ONE).stat().st_mode & 0o077 == 0
    files.remove(ONE)
    files.remove(ONE)
    assert not files.folder(ONE).exists()


def test_an_upload_and_every_name_on_the_way_to_it_go_to_the_disk(
    files: JobFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    files.keep(ONE, upload(tmp_path))
    folder = files.folder(ONE)
    way = [folder / "upload", folder, files.root, files.root.parent, tmp_path]
    assert synced == {path.stat().st_ino for path in way}


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs a second file system")
def test_an_upload_from_another_file_system_is_copied(files: JobFiles, tmp_path: Path) -> None:
    shared = SHARED_MEMORY / f"voice-stack-test-{os.getpid()}"
    shared.write_bytes(b"sound")
    try:
        files.keep(ONE, shared)
    finally:
        shared.unlink(missing_ok=True)
    assert (files.folder(ONE) / "upload").read_bytes() == b"sound"


@pytest.mark.parametrize("name", ["", "..", "job_1", "job_" + "g" * 32, ONE + "/..", "lock"])
def test_only_ids_of_ours_become_folders(files: JobFiles, name: str) -> None:
    with pytest.raises(ValueError, match="not the id"):
        files.folder(name)


def test_a_full_disk_leaves_nothing_behind(files: JobFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InsufficientStorage):
        files.keep(ONE, upload(tmp_path))
    assert not files.folder(ONE).exists()


def test_a_folder_that_cannot_be_made_is_unavailable(files: JobFiles, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(Unavailable):
        files.keep(ONE, upload(tmp_path))


def test_one_holds_the_lock_until_it_lets_go(files: JobFiles) -> None:
    files.root.mkdir(parents=True)
    other = JobFiles(files.root)
    assert files.hold()
    assert files.hold()
    assert not other.hold()
    files.release()
    files.release()
    assert other.hold()
    other.release()


def test_the_sweep_spares_what_is_needed_and_what_is_not_ours(files: JobFiles, tmp_path: Path) -> None:
    for name in (ONE, TWO, THREE):
        files.keep(name, upload(tmp_path))
    stray = f"job_{'4' * 32}"
    files.keep(stray, upload(tmp_path))
    os.utime(files.folder(stray), (0, 0))
    outside = tmp_path / "outside"
    outside.mkdir()
    link = files.root / f"job_{'5' * 32}"
    link.symlink_to(outside)
    (files.root / "notes").mkdir()
    ids = files.ids()
    assert set(ids) == {ONE, TWO, THREE, stray}
    files.sweep(ids, {ONE: True, TWO: False})
    assert {path.name for path in files.root.iterdir()} == {ONE, THREE, link.name, "notes"}, "THREE may be just coming"
    assert outside.is_dir()
