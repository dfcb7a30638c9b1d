"""The registry of people: whose voice is whose, and that nothing is left of those who are forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from asr.diarization import likeness
from asr.diarization import people as module
from asr.diarization.engine import EncoderFacts, Vector, Voiceprint
from asr.diarization.people import People
from core.errors import Conflict, InvalidRequest, MissingParameter, NotFound, Unavailable, VoiceprintsDisabled

FACTS = EncoderFacts(model="ear", size=2, verify=0.3, identify=0.3)
Open = Callable[..., People]


def vector(degrees: float) -> Vector:
    return np.asarray([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], dtype=np.float32)


def voice(degrees: float, facts: EncoderFacts = FACTS) -> Voiceprint:
    """A voice whose likeness to another is told by the angle between them; 45 degrees are a distance of 0.29."""
    return Voiceprint(vector(degrees), 5.0, facts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "speakers.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    made: list[People] = []

    def open_people(*, enabled: bool = True) -> People:
        made.append(People(path, enabled=enabled))
        return made[-1]

    yield open_people
    for people in made:
        people.close()


@pytest.fixture
def people(opened: Open) -> People:
    return opened()


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


# --- who is known


def test_what_was_registered_is_there_for_the_next_process(opened: Open) -> None:
    anna = opened().register(" Anna ", voice(0), labels={"team": "blue"})
    assert anna.id.startswith("spk_")
    assert (anna.name, anna.labels, anna.samples, anna.models) == ("Anna", {"team": "blue"}, 1, ("ear",))
    assert anna.registered.endswith("Z")
    assert opened().everybody() == [anna]


def test_a_name_in_another_spelling_is_the_same_person(people: People) -> None:
    anna = people.register("Anna  Müller", voice(0), labels={"team": "blue"})
    more = people.register("ANNA Mu\u0308ller", voice(10))
    assert (more.id, more.name, more.samples, more.labels) == (anna.id, "Anna  Müller", 2, {"team": "blue"})
    moved = people.register("Anna Müller", voice(10), labels={})
    assert (moved.labels, moved.samples) == ({}, 3)
    assert people.everybody() == [moved]


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0639\u0644\u06cc\u0631\u0636\u0627"),
        ("\u5c71\u7530\u3000\u592a\u90ce", "\u5c71\u7530 \u592a\u90ce"),
        ("Jean\u00a0Luc", "jean luc"),
        ("Zo\u00eb \U0001f469\u200d\U0001f467", "ZO\u00cb \U0001f469\u200d\U0001f467"),
        ("../../etc/passwd", "../../ETC/passwd"),
    ],
)
def test_names_of_all_scripts_stay_as_they_are_spelled(name: str, same: str, people: People) -> None:
    first = people.register(name, voice(0))
    assert first.name == name
    assert people.register(same, voice(0)).id == first.id


def test_a_voice_is_compared_with_the_mean_of_the_samples(people: People) -> None:
    for degrees in (-40, 40, -30, 30):
        people.register("Anna", voice(degrees))
    (match,) = people.identify(voice(0), top_k=5)
    assert match.distance == pytest.approx(0, abs=1e-6)
    assert match.confidence == pytest.approx(100, abs=1e-3)


def test_every_sample_counts_alike_however_long_its_vector_is(people: People) -> None:
    loud = Voiceprint(vector(60) * 100, 5.0, FACTS)
    people.register("Anna", voice(0))
    people.register("Anna", loud)
    (match,) = people.identify(voice(30), top_k=1)
    assert match.distance == pytest.approx(0, abs=1e-6)


def test_the_nearest_come_first_whether_they_match_or_not(people: People) -> None:
    for name, degrees in (("far", 90), ("near", 10), ("middle", 40)):
        people.register(name, voice(degrees))
    found = people.identify(voice(0), top_k=5)
    assert [(match.name, match.match) for match in found] == [("near", True), ("middle", True), ("far", False)]
    assert found[2].confidence == 0
    assert found[0].confidence == pytest.approx((1 - found[0].distance / 0.3) * 100)
    assert [match.name for match in people.identify(voice(0), top_k=2)] == ["near", "middle"]


def test_a_threshold_of_ones_own_wins(people: People) -> None:
    people.register("Anna", voice(40))
    (strict,) = people.identify(voice(0), top_k=1, threshold=0.1)
    (lax,) = people.identify(voice(0), top_k=1, threshold=2.0)
    assert (strict.match, lax.match) == (False, True)


def test_voiceprints_of_another_encoder_are_not_compared(people: People) -> None:
    other = EncoderFacts(model="other-ear", size=2, verify=0.3, identify=0.3)
    larger = EncoderFacts(model="ear", size=4, verify=0.3, identify=0.3)
    people.register("Anna", voice(0))
    for facts in (other, larger):
        with pytest.raises(InvalidRequest, match="ear") as caught:
            people.identify(voice(0, facts), top_k=1)
        assert caught.value.param == "model"
    with pytest.raises(InvalidRequest) as caught:
        people.names({0: vector(0)}, other)
    assert caught.value.param == "identify_speakers"
    both = people.register("Anna", voice(90, other))
    assert both.models == ("ear", "other-ear")
    assert people.identify(voice(90, other), top_k=1)[0].match
    assert people.identify(voice(0), top_k=1)[0].match


def test_nobody_is_two_speakers_and_no_speaker_is_two_people(people: People) -> None:
    people.register("Anna", voice(0))
    people.register("Ben", voice(180))
    assert people.names({0: vector(20), 1: vector(5), 2: vector(90)}, FACTS) == {1: "Anna"}
    assert people.names({0: vector(170), 3: vector(350)}, FACTS) == {0: "Ben", 3: "Anna"}
    assert people.names({}, FACTS) == {}


def test_nobody_is_found_where_nobody_is_registered(people: People, path: Path) -> None:
    assert people.everybody() == []
    assert people.identify(voice(0), top_k=5) == []
    assert people.names({0: vector(0)}, FACTS) == {}
    with pytest.raises(NotFound):
        people.forget("spk_1")
    assert not path.parent.exists(), "nothing is written by looking"


# --- what is refused


def test_nothing_works_while_voiceprints_are_off(opened: Open, path: Path) -> None:
    people = opened(enabled=False)
    for work in (
        people.check,
        people.everybody,
        lambda: people.register("Anna", voice(0)),
        lambda: people.identify(voice(0), top_k=1),
        lambda: people.names({0: vector(0)}, FACTS),
        lambda: people.forget("spk_1"),
    ):
        with pytest.raises(VoiceprintsDisabled, match="VOICEPRINTS=on"):
            work()
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("name", "labels", "param"),
    [
        ("", None, "name"),
        ("  ", None, "name"),
        ("\u200d \u200c", None, "name"),
        ("two\nlines", None, "name"),
        ("\u202eback to front", None, "name"),
        ("x" * 257, None, "name"),
        ("Anna", {"age": 30}, "labels"),
        ("Anna", {"note": "x" * 257}, "labels"),
        ("Anna", {str(number): "" for number in range(33)}, "labels"),
    ],
)
def test_names_and_labels_are_short_texts(
    name: str, labels: dict[str, str] | None, param: str, people: People, path: Path
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        people.register(name, voice(0), labels=labels)
    assert caught.value.param == param
    assert isinstance(caught.value, MissingParameter) == (not name.strip(" \u200c\u200d"))
    assert not path.exists()


def test_there_is_an_end_to_the_samples_of_a_person(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SAMPLES", 2)
    for _ in range(2):
        people.register("Anna", voice(0))
    with pytest.raises(Conflict):
        people.register("Anna", voice(0))
    people.register("Ben", voice(0))
    assert [person.samples for person in people.everybody()] == [2, 1]


# --- forgetting

LONG = EncoderFacts(model="long-ear", size=64, verify=0.3, identify=0.3)
SECRETS = np.random.default_rng(7).normal(size=64).astype(np.float32)
TRACE = likeness.unit(SECRETS).astype("<f4").tobytes()[8:200]


def enrol(people: People) -> str:
    """Register somebody with labels and a vector that nobody else has, between two others."""
    people.register("Before", voice(0))
    person = people.register("Zaphod", Voiceprint(SECRETS, 5.0, LONG), labels={"planet": "Betelgeuse"})
    people.register("After", voice(90))
    return person.id


def traces(path: Path, person_id: str) -> list[bytes]:
    found = on_disk(path)
    wanted = (TRACE, b"Zaphod", b"zaphod", b"Betelgeuse", person_id.encode())
    return [trace for trace in wanted if trace in found]


def test_nothing_is_left_of_the_forgotten(people: People, path: Path) -> None:
    person = enrol(people)
    assert len(traces(path, person)) == 5, "or this test would prove nothing"
    assert {file.name for file in path.parent.iterdir()} == {"speakers.db", "speakers.db-wal", "speakers.db-shm"}
    people.forget(person)
    assert traces(path, person) == []
    assert (path.parent / "speakers.db-wal").stat().st_size == 0
    assert [each.name for each in people.everybody()] == ["Before", "After"]
    assert [match.name for match in people.identify(voice(0), top_k=5)] == ["Before", "After"]
    with pytest.raises(NotFound, match="nothing of one with this id is left"):
        people.forget(person)


def test_a_registry_that_is_deleted_by_hand_stays_so(people: People, path: Path) -> None:
    person = enrol(people)
    path.unlink()
    assert people.everybody() == []
    assert traces(path, person) == []
    people.register("Anna", voice(0))
    people.close()
    assert traces(path, person) == []
    assert [each.name for each in people.everybody()] == ["Anna"]


def test_nothing_is_left_where_two_processes_have_the_file_open(opened: Open, path: Path) -> None:
    one, other = opened(), opened()
    person = enrol(one)
    assert len(other.everybody()) == 3
    other.forget(person)
    assert traces(path, person) == []
    assert len(one.everybody()) == 2


def test_whoever_reads_meanwhile_does_not_keep_the_forgotten_for_ever(people: People, path: Path) -> None:
    person = enrol(people)
    people.close()
    people._database._busy_seconds = 0.05
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM people").fetchone() == (3,)
    with pytest.raises(Unavailable, match="try again"):
        people.forget(person)
    reader.close()
    assert len(people.everybody()) == 2, "whoever asks now is not told of them any more"
    with pytest.raises(NotFound):
        people.forget(person)
    assert traces(path, person) == []


async def test_calls_do_not_block_the_loop(people: People) -> None:
    await people.run(people.register, "Anna", voice(0), labels={"team": "blue"})
    (match,) = await people.run(people.identify, voice(0), top_k=1)
    assert (match.name, match.labels) == ("Anna", {"team": "blue"})
