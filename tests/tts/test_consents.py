"""Consents in SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InvalidRequest, NotFound
from tts.consents import Consents

RECORDING = b"a recording that nobody else makes" * 500


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "voices.db"


def fill(consents: Consents, number: int) -> list[str]:
    return [
        consents.add(name=f"person {each}", language="en-US", recording=RECORDING, sha256="0" * 64).id
        for each in range(number)
    ]


def test_what_was_kept_is_there_for_the_next_process(path: Path) -> None:
    kept = Consents(path).add(name="Anna", language="pt-BR", recording=RECORDING, sha256="0" * 64)
    assert kept.id.startswith("cons_")
    assert kept.created_at > 1_700_000_000
    again = Consents(path)
    assert again.find(kept.id) == kept
    assert again.rename(kept.id, "Ana").name == "Ana"
    assert Consents(path).find(kept.id).name == "Ana"


def test_pages_come_newest_first_and_meet_without_a_gap(path: Path) -> None:
    consents = Consents(path)
    ids = fill(consents, 5)[::-1]
    first = consents.page(after=None, limit=2)
    second = consents.page(after=first.consents[-1].id, limit=2)
    third = consents.page(after=second.consents[-1].id, limit=2)
    assert [each.id for page in (first, second, third) for each in page.consents] == ids
    assert [page.has_more for page in (first, second, third)] == [True, True, False]
    assert not consents.page(after=None, limit=5).has_more


def test_a_new_consent_does_not_shift_the_pages(path: Path) -> None:
    consents = Consents(path)
    ids = fill(consents, 4)[::-1]
    first = consents.page(after=None, limit=2)
    fill(consents, 1)
    assert [each.id for each in consents.page(after=first.consents[-1].id, limit=2).consents] == ids[2:]


def test_nothing_is_written_by_looking(path: Path) -> None:
    consents = Consents(path)
    assert consents.page(after=None, limit=20).consents == []
    with pytest.raises(NotFound):
        consents.find("cons_1")
    with pytest.raises(NotFound):
        consents.delete("cons_1")
    with pytest.raises(InvalidRequest):
        consents.page(after="cons_1", limit=20)
    assert not path.parent.exists()


def test_a_deleted_recording_is_not_in_the_files_any_more(path: Path) -> None:
    consents = Consents(path)
    (one,) = fill(consents, 1)

    def on_disk() -> bytes:
        return b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert RECORDING[:64] in on_disk()
    consents.delete(one)
    assert RECORDING[:64] not in on_disk()
    with pytest.raises(NotFound):
        consents.delete(one)
