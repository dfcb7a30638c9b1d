"""The voices folder: recordings to clone, `{speaker}[_{lang}].wav`, each with its transcript in a `.txt` beside it.

A recording that came by request has a name of our making and a sidecar instead (tts.sidecar).
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tts.sidecar import MADE_ID, open_ordinary, read_sidecar
from tts.voice import Voice
from utils import languages

log = logging.getLogger(__name__)

MAX_RECORDING_BYTES = 64 << 20
MAX_TRANSCRIPT_BYTES = 16 << 10
_HEAD_BYTES = 16
_RIFF, _IFF = (b"RIFF", b"RIFX", b"RF64"), (b"AIFF", b"AIFC", b"8SVX", b"16SV")
# The others that soundfile reads, whatever the file is called: FLAC, Ogg, MP3 with a tag, CAF, AU, W64, NIST, VOC.
_MAGIC = (b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"dns.", b"riff\x2e\x91\xcf\x11", b"NIST_1A", b"Creative Voice")
_MPEG = re.compile(rb"\0*\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd]")  # layers II and III; FF FE begins UTF-16
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_Files = dict[str, os.stat_result]
_Stamp = tuple[tuple[int, int, int, int] | None, ...]


def scan(folder: Path) -> dict[str, Voice]:
    """Return the recordings of a folder as voices by id, which is the full file stem; no folder means no voices.

    Only ordinary files that begin as audio does count: links, pipes, folders, empty, huge and other files are left out
    with a warning.
    """
    return dict(Recordings(folder).voices())


def speaker_of(voice: Voice) -> str:
    """Return the id of a recording without its language: "anna" of "anna_pt"."""
    speaker, _ = _split(voice.id)
    return speaker


class Recordings:
    """The voices of one folder, for any number of threads; files that changed since the last look are read again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._looked = 0.0
        self._seen: dict[str, tuple[_Stamp, Voice | None]] = {}
        self._known: Mapping[str, Voice] | None = None

    def voices(self) -> Mapping[str, Voice]:
        """Look into the folder, which blocks; return the voices by id, sorted by file name."""
        asked = time.monotonic()
        with self._lock:
            # Who waited for a look that began after the question need not look again.
            if self._known is None or self._looked <= asked:
                self._looked = time.monotonic()
                self._known = self._look()
            return self._known

    def known(self) -> Mapping[str, Voice]:
        """Return the voices as the last look found them; it looks only when nobody did before."""
        return self.voices() if self._known is None else self._known

    def _look(self) -> Mapping[str, Voice]:
        files = _list(self.folder)
        before, self._seen = self._seen, {}
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
            if suffix.lower() != ".wav":
                continue
            stamp = tuple(_stamp(files.get(each)) for each in (name, f"{stem}.txt", f"{stem}.json"))
            known = before.get(name)
            self._seen[name] = known if known and known[0] == stamp else (stamp, _voice(self.folder, name, files))
        return {voice.id: voice for _, voice in self._seen.values() if voice}


def _list(folder: Path) -> _Files:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat(follow_symlinks=False) for entry in entries if entry.name[:1] != "."}
    except OSError:
        return {}


def _stamp(facts: os.stat_result | None) -> tuple[int, int, int, int] | None:
    return facts and (facts.st_mode, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _voice(folder: Path, name: str, files: _Files) -> Voice | None:
    facts = files[name]
    stem = os.path.splitext(name)[0]  # noqa: PTH122
    if problems := list(_problems(stem, facts)) or list(_damage(folder / name)):
        log.warning("voices folder: %r is left out: %s", name, ", ".join(problems))
        return None
    voice = Voice(
        id=(voice_id := unicodedata.normalize("NFC", stem)),
        name=voice_id,
        language=_split(voice_id)[1],
        type="cloned",
        sample=folder / name,
        created_at=int(facts.st_mtime),
    )
    made = None
    if MADE_ID.fullmatch(stem):
        made = read_sidecar(folder / f"{stem}.json", files.get(f"{stem}.json"))
    if made is None:
        return replace(voice, transcript=_transcript(folder / f"{stem}.txt", files.get(f"{stem}.txt")))
    return replace(
        voice, name=made.name, language=made.language, transcript=made.reference_text, created_at=made.created_at
    )


def _problems(stem: str, facts: os.stat_result) -> Iterator[str]:
    if not stat.S_ISREG(facts.st_mode):
        yield "not an ordinary file"
    if facts.st_size == 0:
        yield "empty"
    if facts.st_size > MAX_RECORDING_BYTES:
        yield f"larger than {MAX_RECORDING_BYTES >> 20} MiB"
    if not stem.isprintable() or "\\" in stem or ".." in stem:
        yield "not a usable name"


def _damage(path: Path) -> Iterator[str]:
    """Yield why an ordinary file is no recording, told from its first bytes; soundfile is not for this process."""
    try:
        with open_ordinary(path) as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        yield f"cannot be read: {error.strerror}"
        return
    riff = head[:4] in _RIFF and head[8:12] == b"WAVE"
    iff = head[:4] == b"FORM" and head[8:12] in _IFF
    if not (riff or iff or head.startswith(_MAGIC) or _MPEG.match(head)):
        yield "no audio"


def _transcript(path: Path, facts: os.stat_result | None) -> str | None:
    """Return what is said in a recording, None when there is no readable file that says so."""
    if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_TRANSCRIPT_BYTES:
        return None
    try:
        with open_ordinary(path) as file:
            return file.read(MAX_TRANSCRIPT_BYTES).decode("utf-8-sig", "replace").strip() or None
    except OSError:
        return None


def _split(stem: str) -> tuple[str, str | None]:
    """Return the speaker and the language that a file stem names."""
    speaker, _, tag = stem.rpartition("_")
    if speaker and _LANGUAGE.fullmatch(tag):
        try:
            return speaker, languages.parse(tag)
        except ValueError:
            pass
    return stem, None
