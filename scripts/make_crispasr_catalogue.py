"""Write the catalogue's entries for CrispASR out of its model gallery: repositories, files, hashes and options.

`python3 scripts/make_crispasr_catalogue.py` writes src/core/catalogue_crispasr.toml, `--check` tells whether it is up
to date. The gallery is scripts/data/crispasr-gallery.tsv, one model a line; what it does not say (licences, dates,
sizes, most languages) nobody read, and the entries do not make it up.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GALLERY = ROOT / "scripts" / "data" / "crispasr-gallery.tsv"
TARGET = ROOT / "src" / "core" / "catalogue_crispasr.toml"
# Single voices of Piper, which has an engine of its own here, and a model that says nothing without a recording.
LEFT_OUT = ("piper-", "f5-tts-")
# What the files or repositories are named after.
LANGUAGES = {
    "parakeet-ja-crispasr": "ja",
    "fastconformer-ctc-crispasr": "en",
    "wav2vec2-crispasr": "en",
    "wav2vec2-de-crispasr": "de",
    "moonshine-de-crispasr": "de",
    "moonshine-tiny-de-crispasr": "de",
}
# Those that a session of the library has translate into English; of more it says so, and they do not.
TRANSLATE = ("canary-crispasr",)
TASKS = {"['transcript']": "automatic-speech-recognition", "['tts']": "text-to-speech"}
SPEECH_RATE = 24_000
HEAD = """\
# Models of the crispasr engine, written by scripts/make_crispasr_catalogue.py out of CrispASR's gallery: change that.
#
# Nobody read the licences and the dates of these: `unknown`, and the beginning of Unix time. The repositories say.
"""
_FILE = re.compile(r"(?P<name>\S+) <- (?P<repo>[^/\s]+/[^/\s]+)/(?P<path>\S+) sha256:(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a model, and where the hub has it."""

    name: str
    repo: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the gallery."""

    id: str
    task: str
    options: Mapping[str, str]
    files: tuple[File, ...]


def main() -> int:
    """Write the file, or compare it; the exit status is 1 where it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    wanted = render(read(GALLERY.read_text(encoding="utf-8")))
    if not parser.parse_args().check:
        TARGET.write_text(wanted, encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{TARGET.relative_to(ROOT)} is out of date: run {Path(__file__).name}")
    return 1


def read(gallery: str) -> Iterator[Entry]:
    """Yield the models of the gallery that the catalogue has; ValueError for a line that cannot be read."""
    for line in gallery.splitlines()[1:]:
        name, usecases, options, _, files = line.split("\t")
        if name.startswith(LEFT_OUT):
            continue
        found = tuple(File(**match.groupdict()) for match in map(_FILE.fullmatch, files.split(" | ")) if match)
        if len(found) != len(files.split(" | ")) or usecases not in TASKS:
            raise ValueError(f"the gallery's line of {name} cannot be read")
        given = dict(option.split(":", 1) for option in options.split("; ") if option)
        if language := LANGUAGES.get(name):
            given["language"] = language
        yield Entry(name, TASKS[usecases], given, found)


def render(entries: Iterator[Entry]) -> str:
    """Return the entries as core.model_entry reads them."""
    return "\n".join([HEAD, *("\n".join(_lines(entry)) + "\n" for entry in entries)])


def _lines(entry: Entry) -> Iterator[str]:
    language = entry.options.get("language")
    yield "[[models]]"
    yield f"id = {_quoted(entry.id)}"
    yield f"task = {_quoted(entry.task)}"
    yield 'engine = "crispasr"'
    yield f"languages = [{_quoted(language) if language else ''}]"
    yield 'licence = "unknown"'
    yield f"owned_by = {_quoted(entry.files[0].repo.partition('/')[0])}"
    yield "released = 1970-01-01"
    if entry.id in TRANSLATE:
        yield "translates = true"
    if entry.task == "text-to-speech":
        yield f"sample_rate = {SPEECH_RATE}"
    if entry.options:
        yield f"options = {{ {', '.join(f'{key} = {_quoted(value)}' for key, value in entry.options.items())} }}"
    yield "files = ["
    yield from (f"    {{ path = {_quoted(file.name)}, sha256 = {_quoted(file.sha256)} }}," for file in entry.files)
    yield "]"
    for repo in dict.fromkeys(file.repo for file in entry.files):
        yield from _source(repo, [file for file in entry.files if file.repo == repo], alone=_is_alone(entry))


def _source(repo: str, files: list[File], *, alone: bool) -> Iterator[str]:
    yield ""
    yield "[[models.sources]]"
    yield 'kind = "hub"'
    yield f"repo = {_quoted(repo)}"
    if not alone:
        yield f"provides = [{', '.join(_quoted(file.name) for file in files)}]"
    if renamed := [file for file in files if file.name != file.path]:
        yield f"rename = {{ {', '.join(f'{_quoted(file.name)} = {_quoted(file.path)}' for file in renamed)} }}"


def _is_alone(entry: Entry) -> bool:
    return len({file.repo for file in entry.files}) == 1


def _quoted(value: str) -> str:
    return json.dumps(value)


if __name__ == "__main__":
    sys.exit(main())
