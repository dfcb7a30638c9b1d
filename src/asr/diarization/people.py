"""The people whose voices are known: names and voiceprints in SQLite, off until VOICEPRINTS=on, as they are biometric.

Recordings are not kept, only the vectors of their voices.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from sqlite3 import Connection, Row
from typing import Final, ParamSpec, TypeVar

import numpy as np
import orjson

from asr.diarization import likeness
from asr.diarization.engine import EncoderFacts, Vector, Voiceprint
from asr.diarization.known import KnownVoice, matched
from asr.settings import AsrSettings
from core import errors
from core.database import Database

P = ParamSpec("P")
T = TypeVar("T")
VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS people (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    registered_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS samples (
    person INTEGER NOT NULL REFERENCES people(seq) ON DELETE CASCADE,
    model TEXT NOT NULL,
    size INTEGER NOT NULL,
    seconds REAL NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS samples_of_person ON samples (person);
CREATE INDEX IF NOT EXISTS samples_of_model ON samples (model, size)
"""
MAX_NAME_CHARS: Final = 256
MAX_LABELS: Final = 32
MAX_SAMPLES: Final = 100
"""Of one person with one encoder; more change the mean no more, and every comparison reads them."""
_PEOPLE = """
SELECT people.*, count(*) AS samples, json_group_array(DISTINCT samples.model) AS models
FROM people JOIN samples ON samples.person = people.seq
"""
_KNOWN = """
SELECT people.id, people.name, people.labels, samples.vector
FROM samples JOIN people ON people.seq = samples.person
WHERE samples.model = ? AND samples.size = ? ORDER BY people.seq
"""
_DTYPE = "<f4"
_JOINERS = "\u200c\u200d"
"""Names in Persian and in Indic scripts are spelled with these, and many emoji; they have no width."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody registered: `registered_at` in Unix time, `samples` voiceprints, made by the encoders `models`."""

    id: str
    name: str
    labels: Mapping[str, str]
    registered_at: int
    samples: int
    models: tuple[str, ...]

    @property
    def registered(self) -> str:
        """When they were registered, as RFC 3339 in UTC."""
        return datetime.fromtimestamp(self.registered_at, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Match:
    """How far a voice is from somebody's; `confidence` 0 to 100, `match` whether it is taken for theirs."""

    id: str
    name: str
    labels: Mapping[str, str]
    distance: float
    confidence: float
    match: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """Somebody and the mean of their voiceprints by one encoder."""

    id: str
    name: str
    labels: Mapping[str, str]
    mean: Vector


class People:
    """The people in the file at `path`, which is made with the first of them.

    Every method blocks but `run`; see core.database for what all of them may raise. While not `enabled`, all but `run`
    and `close` raise VoiceprintsDisabled.
    """

    def __init__(self, path: Path, *, enabled: bool) -> None:
        # Whoever deletes the file wants everybody forgotten.
        self._database = Database(path, schema=SCHEMA, version=VERSION, rescue=False)
        self._enabled = enabled

    @classmethod
    def of(cls, settings: AsrSettings) -> People:
        """Return the people of this machine's service."""
        return cls(settings.places.state / "speakers.db", enabled=settings.voiceprints)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, a method of this object, without blocking; Unavailable when the file is in use for too long."""
        return await self._database.run(work, *args, **kwargs)

    def check(self) -> None:
        """Raise VoiceprintsDisabled unless voiceprints are allowed here."""
        if not self._enabled:
            raise errors.VoiceprintsDisabled(
                "no people are registered or recognised here, because voiceprints are biometric data; "
                "VOICEPRINTS=on allows it"
            )

    def register(
        self, name: str | None, voiceprint: Voiceprint, *, labels: Mapping[str, object] | None = None
    ) -> Person:
        """Keep the voice of somebody; of somebody who is known by this name it is another sample.

        Their labels stay unless new ones are given. Raises what `check_name` and `check_labels` raise, and Conflict
        for a sample too many.
        """
        self.check()
        name, labels = check_name(name), None if labels is None else check_labels(labels)
        facts = voiceprint.facts
        vector = likeness.unit(voiceprint.vector).astype(_DTYPE).tobytes()
        with self._database.write() as connection:
            seq = _enrolled(connection, name, labels)
            _check_room(connection, seq, facts)
            connection.execute(
                "INSERT INTO samples (person, model, size, seconds, vector) VALUES (?, ?, ?, ?, ?)",
                (seq, facts.model, facts.size, voiceprint.seconds, vector),
            )
            return _person(connection.execute(f"{_PEOPLE} WHERE people.seq = ? GROUP BY people.seq", (seq,)).fetchone())

    def identify(self, voiceprint: Voiceprint, *, top_k: int, threshold: float | None = None) -> list[Match]:
        """Return the `top_k` people whose voices are nearest, the nearest first, whether they match or not.

        A match is at most `threshold` away, None for that of the encoder. Raises InvalidRequest where there are people,
        but none whose voiceprints are of this encoder.
        """
        limit = voiceprint.facts.identify if threshold is None else threshold
        known = self._known(voiceprint.facts, param="model")
        found = ((likeness.distance(each.mean, voiceprint.vector), each) for each in known)
        nearest = sorted(found, key=lambda pair: pair[0])[:top_k]
        return [
            Match(each.id, each.name, each.labels, far, likeness.confidence(far, limit), far <= limit)
            for far, each in nearest
        ]

    def names(self, embeddings: Mapping[int, Vector], facts: EncoderFacts) -> Mapping[int, str]:
        """Return the names of those speakers of a diarization who are known; nobody is two of them.

        `embeddings` has a vector of shape (size,) for each speaker, by number. Raises InvalidRequest where there are
        people, but none whose voiceprints are of this encoder.
        """
        known = [
            KnownVoice(name=each.name, vector=tuple(each.mean.tolist()), within=facts.identify)
            for each in self._known(facts, param="identify_speakers")
        ]
        return matched(embeddings, known)

    def everybody(self) -> list[Person]:
        """Return all people in the order in which they were registered."""
        self.check()
        if not self._database.exists:
            return []
        with self._database.read() as connection:
            rows = connection.execute(f"{_PEOPLE} GROUP BY people.seq ORDER BY people.seq").fetchall()
        return [_person(row) for row in rows]

    def forget(self, person_id: str) -> None:
        """Delete somebody with all their voiceprints, and what the files still hold of them.

        Raises NotFound, and Unavailable while another process reads the file; whoever is told that asks again, and is
        told NotFound when nothing is left.
        """
        self.check()
        if not self._database.exists:
            raise _unknown()
        with self._database.write() as connection:
            gone = connection.execute("DELETE FROM people WHERE id = ?", (person_id,)).rowcount
        # Also for somebody who is not there: the call that deleted them may have been cut off before this.
        self._scrub()
        if not gone:
            raise errors.NotFound("there is no such person, and nothing of one with this id is left", param="id")

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._database.close()

    def _scrub(self) -> None:
        """Leave nothing of what was deleted in the file and its log. Raises Unavailable while somebody reads them."""
        with self._database.read() as connection:
            # The copy that VACUUM makes would else go through the system's temporary folder.
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("VACUUM")
        # The log would keep the pages as they were.
        if not self._database.empty_log():
            raise errors.Unavailable("the registry is being read, so traces of the deleted are still in it; try again")

    def _known(self, facts: EncoderFacts, *, param: str) -> list[_Known]:
        """Return everybody with voiceprints of an encoder; InvalidRequest where all voiceprints are of others."""
        self.check()
        if not self._database.exists:
            return []
        with self._database.snapshot() as connection:
            rows = connection.execute(_KNOWN, (facts.model, facts.size)).fetchall()
            others = [] if rows else connection.execute("SELECT DISTINCT model FROM samples ORDER BY model").fetchall()
        if others:
            raise errors.InvalidRequest(
                f"the registered voiceprints are of {', '.join(row['model'] for row in others)} and cannot be compared "
                f"with those of {facts.model}; use that model, or register the people with this one",
                param=param,
            )
        return [_averaged(list(of_one)) for _, of_one in groupby(rows, key=lambda row: row["id"])]


def check_name(given: str | None) -> str:
    """Return a person's name, without blanks around it. Raises MissingParameter, InvalidRequest."""
    name = unicodedata.normalize("NFC", given or "").strip()
    if not name_key(name):
        raise errors.MissingParameter("the parameter 'name' is required", param="name")
    if len(name) > MAX_NAME_CHARS or not all(map(_may_be_in_name, name)):
        raise errors.InvalidRequest(f"a name is one line of at most {MAX_NAME_CHARS} characters", param="name")
    return name


def name_key(name: str) -> str:
    """Return what all spellings of one name have in common."""
    joined = unicodedata.normalize("NFKC", name).casefold().translate(dict.fromkeys(map(ord, _JOINERS)))
    return " ".join(joined.split())


def _may_be_in_name(character: str) -> bool:
    # isprintable knows no blank but the ASCII one.
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def check_labels(given: Mapping[str, object]) -> dict[str, str]:
    """Return what else is told of a person. Raises InvalidRequest for anything but a few short texts."""
    labels = {key: value for key, value in given.items() if isinstance(value, str)}
    texts = [*labels, *labels.values()]
    if len(given) > MAX_LABELS or len(labels) < len(given) or any(len(text) > MAX_NAME_CHARS for text in texts):
        raise errors.InvalidRequest(
            f"'labels' is an object of at most {MAX_LABELS} texts of up to {MAX_NAME_CHARS} characters", param="labels"
        )
    return labels


def _enrolled(connection: Connection, name: str, labels: Mapping[str, str] | None) -> int:
    """Return the row of somebody, who is added unless the name is known."""
    key = name_key(name)
    row = connection.execute("SELECT seq FROM people WHERE name_key = ?", (key,)).fetchone()
    written = None if labels is None else orjson.dumps(labels).decode()
    if row is None:
        added = connection.execute(
            "INSERT INTO people (id, name, name_key, labels, registered_at) VALUES (?, ?, ?, ?, ?)",
            (f"spk_{secrets.token_hex(12)}", name, key, written or "{}", int(time.time())),
        )
        return int(added.lastrowid or 0)
    seq = int(row["seq"])
    if written is not None:
        connection.execute("UPDATE people SET labels = ? WHERE seq = ?", (written, seq))
    return seq


def _check_room(connection: Connection, seq: int, facts: EncoderFacts) -> None:
    (count,) = connection.execute(
        "SELECT count(*) FROM samples WHERE person = ? AND model = ? AND size = ?", (seq, facts.model, facts.size)
    ).fetchone()
    if count >= MAX_SAMPLES:
        raise errors.Conflict(f"there are {MAX_SAMPLES} samples of this person already, which is the limit")


def _averaged(samples: Sequence[Row]) -> _Known:
    first = samples[0]
    vectors = [np.frombuffer(row["vector"], dtype=_DTYPE) for row in samples]
    return _Known(first["id"], first["name"], orjson.loads(first["labels"]), likeness.mean(vectors))


def _person(row: Row) -> Person:
    models = tuple(sorted(orjson.loads(row["models"])))
    return Person(row["id"], row["name"], orjson.loads(row["labels"]), row["registered_at"], row["samples"], models)


def _unknown() -> errors.NotFound:
    return errors.NotFound("there is no such person", param="id")
