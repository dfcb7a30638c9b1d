"""The voices people make by request: files in the voices folder, added, renamed and deleted one at a time.

A voice `voice_<24 hex digits>` is a `.wav` and a `.json` of that stem. The recording comes last and goes first, so that
whoever lists the folder never sees half a voice; both are for their owner alone. Files that people put there by hand
are never changed. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core import errors
from core.database import fsync
from core.spool import storage_error
from tts.recordings import Recordings
from tts.sidecar import MADE_ID, NAME, Sidecar, open_ordinary, read_sidecar
from tts.voice import Voice

_LOCK = ".lock"
_PART = ".part"


def check_name(name: str) -> str:
    """Return a name that a voice may be given; InvalidRequest for any other."""
    if not NAME.fullmatch(name) or MADE_ID.fullmatch(name):
        raise errors.InvalidRequest(
            "a voice's name has 1 to 64 of the characters a-z, 0-9, _ and -, begins with a letter or digit, "
            "and does not look like a voice's id",
            param="name",
        )
    return name


class Library:
    """The voices of a folder, which several processes may change at once: whoever holds its lock does."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings
        self._folder = recordings.folder
        for path in self._folder.glob("voice_*"):
            if MADE_ID.fullmatch(path.stem) and path.suffix in {".wav", ".json"}:
                _close_to_others(path)

    def voices(self) -> list[Voice]:
        """Return all recordings of the folder as voices."""
        return list(self._recordings.voices().values())

    def find(self, key: str) -> Voice:
        """Return the recording with this id, else this name; NotFound without one."""
        voices = self._recordings.voices()
        found = voices.get(key) or next((voice for voice in voices.values() if voice.name == key), None)
        if found is None:
            raise errors.NotFound("there is no such voice")
        return found

    def check_free(self, name: str, *, taken: Collection[str] = ()) -> None:
        """Raise AlreadyExists when a recording has this id or name, or it is among `taken`."""
        if name in taken or any(name in {voice.id, voice.name} for voice in self.voices()):
            raise errors.AlreadyExists(f"there is a voice named {name!r} already", param="name")

    def add(self, sample: Path, about: Sidecar, *, taken: Collection[str] = ()) -> Voice:
        """Copy a recording (a WAV that tts.samples wrote) into the folder; return its voice once it is on the disk.

        Raises AlreadyExists, InsufficientStorage, Forbidden where the folder cannot be written.
        """
        voice_id = f"voice_{secrets.token_hex(12)}"
        with self._changing():
            self._sweep()
            self.check_free(check_name(about.name), taken=taken)
            sidecar = self._folder / f"{voice_id}.json"
            self._put(sidecar, _dump(about))
            try:
                self._put(self._folder / f"{voice_id}.wav", sample.read_bytes())
            except OSError:
                sidecar.unlink(missing_ok=True)
                raise
            return self.find(voice_id)

    def rename(self, key: str, name: str, *, taken: Collection[str] = ()) -> Voice:
        """Give a voice another name. Raises what `add` raises, NotFound, Forbidden for files put there by hand."""
        check_name(name)
        self._made(key)
        with self._changing():
            voice = self._made(key)
            if voice.name != name:
                self.check_free(name, taken=taken)
                about = self._about(voice).model_copy(update={"name": name})
                self._put(self._folder / f"{voice.id}.json", _dump(about))
            return self.find(voice.id)

    def delete(self, key: str) -> Voice:
        """Delete a voice; return what it was. Raises NotFound, Forbidden for files that were put there by hand."""
        self._made(key)
        with self._changing():
            voice = self._made(key)
            for suffix in (".wav", ".json"):
                (self._folder / f"{voice.id}{suffix}").unlink(missing_ok=True)
                fsync(self._folder)
            return voice

    def _made(self, key: str) -> Voice:
        voice = self.find(key)
        if not MADE_ID.fullmatch(voice.id):
            raise errors.Forbidden("this voice was put into the voices folder by hand; change its files there")
        return voice

    def _about(self, voice: Voice) -> Sidecar:
        path = self._folder / f"{voice.id}.json"
        with suppress(FileNotFoundError):
            if about := read_sidecar(path, path.lstat()):
                return about
        return Sidecar(
            name=voice.name,
            language=voice.language,
            reference_text=voice.transcript,
            created_at=voice.created_at,
        )

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the folder's lock; the folder is made when it is missing."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(self._folder / _LOCK, flags, 0o600)
            try:
                self._hand_over(lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            if isinstance(told := storage_error(error), errors.InsufficientStorage):
                raise told from error
            raise errors.Forbidden(f"the voices folder cannot be changed: {error.strerror}") from error

    def _put(self, path: Path, data: bytes) -> None:
        """Write a file that is there whole or not at all, also after a loss of power. Never follows a link."""
        part = path.with_name(f".{path.name}{_PART}")
        try:
            with open(part, "xb", opener=_private) as file:
                self._hand_over(file.fileno())
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        fsync(path.parent)

    def _hand_over(self, descriptor: int) -> None:
        """Give a file that root makes, on the command line, to the folder's owner: the service runs as that user."""
        if os.geteuid() == 0:
            owner = self._folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)

    def _sweep(self) -> None:
        """Remove what a process that died half-way left; nobody else is at work while the lock is held."""
        for path in self._folder.glob(f".voice_*{_PART}"):
            path.unlink(missing_ok=True)
        for path in self._folder.glob("voice_*.json"):
            if MADE_ID.fullmatch(path.stem) and not os.path.lexists(path.with_suffix(".wav")):
                path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _close_to_others(path: Path) -> None:
    """Take everybody else's rights to a file away, where it is ours and no link."""
    with suppress(OSError), open_ordinary(path) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            os.fchmod(file.fileno(), mode & 0o700)


def _dump(about: Sidecar) -> bytes:
    return about.model_dump_json(indent=2).encode()
