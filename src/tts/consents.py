"""Recordings in which people agree that their voice is cloned: kept in SQLite, apart from the voices they allow."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Row
from typing import Literal

from core import errors
from core.database import Database

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS consents (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    language TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    recording BLOB NOT NULL
)
"""
_FIND = "SELECT seq, id, name, language, created_at FROM consents WHERE id = ?"
_PAGE = "SELECT seq, id, name, language, created_at FROM consents WHERE seq < ? ORDER BY seq DESC LIMIT ?"
_NEWEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Consent:
    """What is known of a consent: its id, its label, the BCP-47 language of the phrase, when it came (Unix time)."""

    id: str
    name: str
    language: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list and whether more follows."""

    consents: list[Consent]
    has_more: bool


class Consents:
    """The consents in the file at `path`, which is made with the first one. Everything blocks; see core.database."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=SCHEMA, version=VERSION)

    def add(self, *, name: str, language: str, recording: bytes, sha256: str) -> Consent:
        """Keep a recording as it was sent; it is on the disk when this returns. Raises InsufficientStorage."""
        consent = Consent(f"cons_{secrets.token_hex(12)}", name, language, int(time.time()))
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO consents (id, name, language, created_at, sha256, recording) VALUES (?, ?, ?, ?, ?, ?)",
                (consent.id, name, language, consent.created_at, sha256, recording),
            )
        return consent

    def find(self, consent_id: str) -> Consent:
        """Return a consent; NotFound without one."""
        row = self._row(consent_id)
        if row is None:
            raise errors.NotFound("there is no such consent")
        return _consent(row)

    def asked_for(self, given: str | None, *, policy: Literal["required", "optional", "off"]) -> str | None:
        """Return the id of the consent that a voice is made under, as far as the policy (VOICE_CONSENT) wants one.

        Raises MissingParameter, InvalidRequest when there is no consent `given`.
        """
        if policy == "off" or (given is None and policy == "optional"):
            return None
        if given is None:
            raise errors.MissingParameter(
                "a consent is required here: record it with POST /v1/audio/voice_consents and send its id",
                param="consent",
            )
        try:
            return self.find(given).id
        except errors.NotFound as error:
            raise errors.InvalidRequest("there is no consent with this id", param="consent") from error

    def page(self, *, after: str | None, limit: int) -> Page:
        """Return up to `limit` consents, the newest first, from the one that follows `after`.

        Raises InvalidRequest when there is no consent `after`.
        """
        last = self._row(after) if after else None
        if after and last is None:
            raise errors.InvalidRequest("there is no consent with this id to go on after", param="after")
        if not self._database.exists:
            return Page([], has_more=False)
        with self._database.read() as connection:
            rows = connection.execute(_PAGE, (last["seq"] if last else _NEWEST, limit + 1)).fetchall()
        return Page([_consent(row) for row in rows[:limit]], has_more=len(rows) > limit)

    def rename(self, consent_id: str, name: str) -> Consent:
        """Give a consent another label. Raises NotFound."""
        self.find(consent_id)
        with self._database.write() as connection:
            connection.execute("UPDATE consents SET name = ? WHERE id = ?", (name, consent_id))
        return self.find(consent_id)

    def delete(self, consent_id: str) -> None:
        """Forget a consent and overwrite its recording in the file. Raises NotFound."""
        self.find(consent_id)
        with self._database.write() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            gone = connection.execute("DELETE FROM consents WHERE id = ?", (consent_id,)).rowcount
        if not gone:
            raise errors.NotFound("there is no such consent")
        # The log would keep the pages as they were.
        self._database.empty_log()

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        self._database.close()

    def _row(self, consent_id: str) -> Row | None:
        if not self._database.exists:
            return None
        with self._database.read() as connection:
            row: Row | None = connection.execute(_FIND, (consent_id,)).fetchone()
        return row


def _consent(row: Row) -> Consent:
    return Consent(row["id"], row["name"], row["language"], row["created_at"])
