"""Which recordings a batch is about, and where the text of each goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidRequest

_NAMES = """
3g2 3gp aac aif aiff amr asf au avi flac flv m2ts m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mpga mts oga ogg ogv opus
ts w64 wav weba webm wma wmv
"""
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())
"""How the names of recordings end: what the services can decode, by the usual names."""
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording and the file its text goes to; `name` is how it is shown."""

    source: Path
    target: Path
    name: str

    @property
    def is_done(self) -> bool:
        """Whether its text is there and no older than the recording; texts appear only when they are whole."""
        try:
            return self.target.stat().st_mtime_ns >= self.source.stat().st_mtime_ns
        except OSError:
            return False


def find(sources: Sequence[str], out: Path | None, extension: str) -> list[Recording]:
    """Return the recordings of folders, files and patterns, each once, in order of their names.

    The folders below `out` are those of the sources; without `out` a text goes beside its recording. Two recordings of
    one name (`talk.mp3`, `talk.wav`) keep their suffixes. Raises InvalidRequest for a source that is not there, and
    for two recordings that would be written to one file.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for source in sources:
        try:
            for path, below in _expand(source):
                found.setdefault(path.resolve(), (path, below))
        except (OSError, RuntimeError, ValueError) as error:  # pathlib's, for a name, a home or a pattern it cannot use
            raise InvalidRequest(f"cannot look for recordings in {source}: {error}") from error
    chosen = [(path, below, out / below if out else path) for path, below in sorted(found.values())]
    stems = Counter(place.with_suffix("") for _, _, place in chosen)
    recordings = []
    for path, below, place in chosen:
        ending = f"{place.suffix}.{extension}" if stems[place.with_suffix("")] > 1 else f".{extension}"
        recordings.append(Recording(source=path, target=place.with_name(place.stem + ending), name=str(below)))
    _check_apart(recordings)
    return recordings


def _check_apart(recordings: Iterable[Recording]) -> None:
    taken: dict[Path, Recording] = {}
    for each in recordings:
        if other := taken.get(each.target):
            raise InvalidRequest(f"{other.source} and {each.source} would both be written to {each.target}")
        taken[each.target] = each


def _expand(source: str) -> Iterator[tuple[Path, Path]]:
    """Yield the recordings behind one argument, each with its path below the folder the argument begins with."""
    path = Path(source).expanduser()
    if path.is_dir():
        yield from _recordings(path, path.rglob("*"))
    elif path.is_file():
        yield from _recordings(path.parent, [path])
    elif _MAGIC & set(source):
        yield from _matches(path)
    else:
        raise InvalidRequest(f"there is no file or folder {source}")


def _matches(pattern: Path) -> Iterator[tuple[Path, Path]]:
    parts = pattern.parts
    fixed = next(number for number, part in enumerate(parts) if _MAGIC & set(part))
    root = Path(*parts[:fixed])
    for match in root.glob(str(Path(*parts[fixed:]))):
        yield from _recordings(root, match.rglob("*") if match.is_dir() else [match])


def _recordings(root: Path, paths: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    for path in paths:
        below = path.relative_to(root)
        hidden = any(part.startswith(".") for part in below.parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path, below
