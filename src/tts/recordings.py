"""The voices folder: recordings to clone, `{speaker}[_{lang}].wav`, each with its transcript in a `.txt` beside it."""

from __future__ import annotations

import logging
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path

from tts.voice import Voice
from utils import languages

log = logging.getLogger(__name__)

MAX_RECORDING_BYTES = 64 << 20
MAX_TRANSCRIPT_BYTES = 16 << 10
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_Files = dict[str, os.stat_result]


def scan(folder: Path) -> dict[str, Voice]:
    """Return the recordings of a folder as voices by id, which is the full file stem; no folder means no voices.

    Only ordinary files count: links, pipes, folders, empty and huge files are left out with a warning.
    """
    return _voices(folder, _list(folder))


def speaker_of(voice: Voice) -> str:
    """Return the id of a recording without its language: "anna" of "anna_pt"."""
    speaker, _ = _split(voice.id)
    return speaker


def open_ordinary(path: Path) -> BufferedReader:
    """Open a file for reading that is no link and no pipe, whatever it was when the folder was listed; else OSError."""
    file = open(path, "rb", opener=_without_following)  # noqa: SIM115 - Path.open has no opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not an ordinary file")
    return file


class Recordings:
    """The voices of one folder, scanned again when something in it changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: frozenset[tuple[str, int, int, int, int]] | None = None
        self._voices: dict[str, Voice] = {}

    def voices(self) -> Mapping[str, Voice]:
        """Return the voices by id, sorted."""
        files = _list(self._folder)
        # Not the folder's own time: that does not change when a file that is being copied grows.
        seen = frozenset((name, s.st_mode, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in files.items())
        if seen != self._seen:
            self._voices = _voices(self._folder, files)
            self._seen = seen
        return self._voices


def _list(folder: Path) -> _Files:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat(follow_symlinks=False) for entry in entries if entry.name[:1] != "."}
    except OSError:
        return {}


def _voices(folder: Path, files: _Files) -> dict[str, Voice]:
    found = {}
    for name, facts in sorted(files.items()):
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
        if suffix.lower() != ".wav":
            continue
        if problems := list(_problems(stem, facts)):
            log.warning("voices folder: %r is left out: %s", name, ", ".join(problems))
            continue
        transcript = _transcript(folder / f"{stem}.txt", files.get(f"{stem}.txt"))
        voice_id = unicodedata.normalize("NFC", stem)
        found[voice_id] = Voice(
            id=voice_id,
            name=voice_id,
            language=_split(voice_id)[1],
            type="cloned",
            sample=folder / name,
            transcript=transcript,
            created_at=int(facts.st_mtime),
        )
    return found


def _problems(stem: str, facts: os.stat_result) -> Iterator[str]:
    if not stat.S_ISREG(facts.st_mode):
        yield "not an ordinary file"
    if facts.st_size == 0:
        yield "empty"
    if facts.st_size > MAX_RECORDING_BYTES:
        yield f"larger than {MAX_RECORDING_BYTES >> 20} MiB"
    if not stem.isprintable() or "\\" in stem or ".." in stem:
        yield "not a usable name"


def _transcript(path: Path, facts: os.stat_result | None) -> str | None:
    """Return what is said in a recording, None when there is no readable file that says so."""
    if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_TRANSCRIPT_BYTES:
        return None
    try:
        with open_ordinary(path) as file:
            return file.read(MAX_TRANSCRIPT_BYTES).decode("utf-8-sig", "replace").strip() or None
    except OSError:
        return None


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _split(stem: str) -> tuple[str, str | None]:
    """Return the speaker and the language that a file stem names."""
    speaker, _, tag = stem.rpartition("_")
    if speaker and _LANGUAGE.fullmatch(tag):
        try:
            return speaker, languages.parse(tag)
        except ValueError:
            pass
    return stem, None
