"""The voices people make by request, as files."""

from __future__ import annotations

import os
import threading
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import AlreadyExists, Forbidden, InvalidRequest, NotFound
from tts.library import Library, check_name
from tts.recordings import Recordings, scan
from tts.sidecar import MADE_ID, Sidecar

ABOUT = Sidecar(name="anna", language="pt", reference_text="Olá.", created_at=1_700_000_000, consent="cons_1")
ID = "voice_0123456789abcdef01234567"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "sample.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


def write_wav(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(b"\1\0" * 800)
    return path


def named(name: str) -> Sidecar:
    return ABOUT.model_copy(update={"name": name})


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".lock"}


def test_a_made_voice_is_found_by_id_and_by_name(folder: Path, sample: Path) -> None:
    library = Library(Recordings(folder))
    made = library.add(sample, ABOUT)
    assert MADE_ID.fullmatch(made.id)
    assert (made.name, made.language, made.transcript, made.created_at) == ("anna", "pt", "Olá.", 1_700_000_000)
    assert made.sample is not None
    assert made.sample.read_bytes() == sample.read_bytes()
    assert library.find("anna") == library.find(made.id) == made == scan(folder)[made.id]
    assert contents(folder) == {f"{made.id}.wav", f"{made.id}.json"}


def test_a_name_is_given_once(folder: Path, sample: Path) -> None:
    library = Library(Recordings(folder))
    made = library.add(sample, ABOUT)
    write_wav(folder / "ben_en.wav")
    before = contents(folder)
    for taken in ("anna", "ben_en", "af_heart"):
        with pytest.raises(AlreadyExists) as caught:
            library.add(sample, named(taken), taken={"af_heart"})
        assert (caught.value.status, caught.value.code, caught.value.param) == (409, "already_exists", "name")
        if taken != "anna":
            with pytest.raises(AlreadyExists):
                library.rename(made.id, taken, taken={"af_heart"})
    assert contents(folder) == before
    assert library.find(made.id) == made


@pytest.mark.parametrize("attempt", range(5))
def test_of_many_at_once_exactly_one_gets_the_name(folder: Path, sample: Path, attempt: int) -> None:
    start = threading.Barrier(8)

    def add() -> bool:
        start.wait()
        try:
            Library(Recordings(folder)).add(sample, ABOUT)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = [task.result() for task in [threads.submit(add) for _ in range(8)]]
    assert won.count(True) == 1
    assert len(contents(folder)) == 2


def test_renaming_keeps_the_rest(folder: Path, sample: Path) -> None:
    library = Library(Recordings(folder))
    made = library.add(sample, ABOUT)
    renamed = library.rename("anna", "anna-2")
    assert (renamed.id, renamed.name, renamed.transcript) == (made.id, "anna-2", "Olá.")
    assert Sidecar.model_validate_json((folder / f"{made.id}.json").read_bytes()) == named("anna-2")
    assert library.rename("anna-2", "anna-2").name == "anna-2"
    with pytest.raises(NotFound):
        library.find("anna")
    library.add(sample, ABOUT)


def test_deleting_leaves_nothing_and_works_once(folder: Path, sample: Path) -> None:
    library = Library(Recordings(folder))
    made = library.add(sample, ABOUT)
    assert library.delete("anna").id == made.id
    assert contents(folder) == set()
    for key in ("anna", made.id):
        with pytest.raises(NotFound):
            library.delete(key)


def test_made_voices_are_their_owners_alone(folder: Path, sample: Path) -> None:
    folder.mkdir()
    by_hand = write_wav(folder / "ben_en.wav")
    by_hand.chmod(0o644)
    before = os.umask(0)
    try:
        made = Library(Recordings(folder)).add(sample, ABOUT)
        Library(Recordings(folder)).rename(made.id, "carla")
    finally:
        os.umask(before)
    files = [folder / f"{made.id}{suffix}" for suffix in (".wav", ".json")]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    for path in files:
        path.chmod(0o644)
    Library(Recordings(folder))
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600], "those of before, too"
    assert by_hand.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(folder: Path, sample: Path) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 23456)
    Library(Recordings(folder)).add(sample, ABOUT)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()} == {(12345, 23456)}


def test_files_put_there_by_hand_are_never_changed(folder: Path) -> None:
    folder.mkdir()
    path = write_wav(folder / "ben_en.wav")
    library = Library(Recordings(folder))
    assert library.find("ben_en").name == "ben_en"
    with pytest.raises(Forbidden):
        library.rename("ben_en", "ben")
    with pytest.raises(Forbidden):
        library.delete("ben_en")
    assert path.exists()


def test_what_a_crash_left_is_no_voice_and_goes_with_the_next_one(folder: Path, sample: Path) -> None:
    folder.mkdir()
    (folder / f"{ID}.json").write_text(ABOUT.model_dump_json())
    (folder / f".{ID}.wav.part").write_bytes(b"RIFF")
    library = Library(Recordings(folder))
    assert library.voices() == []
    made = library.add(sample, ABOUT)
    assert contents(folder) == {f"{made.id}.wav", f"{made.id}.json"}


def test_a_recording_without_its_sidecar_is_still_a_voice_that_can_be_named_and_deleted(folder: Path) -> None:
    folder.mkdir()
    write_wav(folder / f"{ID}.wav")
    (folder / f"{ID}.json").write_text("{")
    library = Library(Recordings(folder))
    assert library.find(ID).name == ID
    assert library.rename(ID, "anna").name == "anna"
    library.delete("anna")
    assert contents(folder) == set()


def test_nothing_outside_the_folder_is_touched(tmp_path: Path, folder: Path, sample: Path) -> None:
    folder.mkdir()
    outside = write_wav(tmp_path / "outside.wav")
    secret = tmp_path / "secret.json"
    secret.write_text(named("secret").model_dump_json())
    before = outside.read_bytes(), secret.read_bytes()
    (folder / f"{ID}.wav").symlink_to(outside)
    (folder / f"{ID}.json").symlink_to(secret)
    library = Library(Recordings(folder))
    for key in (ID, "secret", "../outside", str(outside)):
        with pytest.raises(NotFound):
            library.delete(key)
    made = library.add(sample, ABOUT)
    (folder / f"{made.id}.json").unlink()
    (folder / f"{made.id}.json").symlink_to(secret)
    library.rename(made.id, "carla")
    library.delete("carla")
    assert (outside.read_bytes(), secret.read_bytes()) == before


def test_a_folder_that_cannot_be_changed(tmp_path: Path, folder: Path, sample: Path) -> None:
    folder.mkdir()
    (folder / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Forbidden):
        Library(Recordings(folder)).add(sample, ABOUT)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(Forbidden):
        Library(Recordings(sample)).add(sample, ABOUT)


@pytest.mark.parametrize("name", ["a", "0", "anna-maria_2", "x" * 64, "alloy"])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Anna", "_a", "-a", "a b", "a/b", "..", "a.wav", "ä", "a\n", "a\0", "x" * 65, ID, "con.", "\u0430"]
)
def test_bad_names(name: str, folder: Path, sample: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Library(Recordings(folder)).add(sample, named(name))
    assert (caught.value.status, caught.value.param) == (400, "name")
    assert not folder.exists() or contents(folder) == set()
