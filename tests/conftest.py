"""What all tests share: sample speech, installed models, and services run as real processes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from core.settings import Places

ROOT = Path(__file__).resolve().parent.parent
SPEECH_DATA = Path(os.environ.get("VOICE_STACK_TEST_DATA") or ROOT.parent / "shared" / "data")
START_SECONDS = 120.0
LONG = (
    "tests/conformance/",
    "tests/contract/",
    "tests/whisper/test_engine.py",
    "tests/coqui/",
    "tests/bench/test_runs.py",
    "tests/voice_stack/test_cli.py",
    "tests/asr/engines/test_faster_whisper.py",
    "tests/e2e/",
    "tests/tooling/",
)
"""Files that take minutes, and folders of them: they go first, so that at the end no process is waited for."""
FAKE_DIARIZER = {"DIARIZATION_MODEL": "fake-diarizer", "DIARIZATION_ENGINE": "fake-diarizer"}

with contextlib.suppress(ImportError):  # the environment of `make test-extras` has none
    from hypothesis import HealthCheck, settings

    # A busy machine is no reason to fail.
    settings.register_profile("voice-stack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("voice-stack")

# A shell that starts a job in the background has it ignore Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, which is what the services run on."""
    return "asyncio"


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """The folder of real recordings with their ground truth (MANIFEST.tsv)."""
    if not (SPEECH_DATA / "MANIFEST.tsv").is_file():
        pytest.skip(f"no sample recordings at {SPEECH_DATA}; VOICE_STACK_TEST_DATA names another folder")
    return SPEECH_DATA


@pytest.fixture(scope="session")
def model_dir() -> Callable[[str], Path]:
    """A function from a catalogue id to the folder of the installed model."""

    def find(model_id: str) -> Path:
        folder = Places().cache / "models" / model_id
        if not folder.is_dir():
            pytest.fail(f"{model_id} is not installed; run: voice-stack models pull {model_id}")
        return folder

    return find


class Service:
    """A service in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str, tmp: Path) -> None:
        self.process = process
        self.url = url
        self.tmp = tmp

    @property
    def pid(self) -> int:
        return self.process.pid

    def leftovers(self) -> list[Path]:
        """Files and folders of requests that are still in the spool."""
        return [path for folder in self.tmp.iterdir() for path in folder.glob("r-*")]

    def children(self) -> list[int]:
        """Processes whose parent is the service."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if int(fields[1]) == self.pid and fields[0] != "Z":
                    found.append(int(stat.parent.name))
        return found


Start = Callable[..., Service]


def _wait_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and selector.select(max(deadline - time.monotonic(), 0)):
            line = process.stdout.readline()
            if line.startswith("ready: "):
                return line.removeprefix("ready: ").strip()
            if not line or line.startswith("not ready: "):
                break
    process.kill()
    pytest.fail(f"the service did not become ready: {process.communicate()}")


@pytest.fixture(scope="session")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A function that starts `voice-stack serve NAME` with the given environment and waits for it to be ready."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, env: Mapping[str, str] | None = None) -> Service:
        tmp = tmp_path_factory.mktemp(f"spool-{name}")
        state = tmp_path_factory.mktemp(f"state-{name}")
        ours = ("ASR_", "TTS_", "DIARIZATION_", "VOICEPRINTS")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "voice_stack", "serve", name, "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**clean, "VOICE_STACK_TMP": str(tmp), "VOICE_STACK_STATE": str(state), **(env or {})},
            cwd=tmp_path_factory.mktemp("cwd"),
        )
        running.append(process)
        return Service(process, _wait_ready(process), tmp)

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=20)
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def fake_asr(start_service: Start) -> Service:
    """An ASR service with the fake engines: speakers take turns of two seconds."""
    return start_service("asr", {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", **FAKE_DIARIZER})


@pytest.fixture(scope="session")
def fake_tts(start_service: Start) -> Service:
    """A TTS service with the fake engine."""
    return start_service("tts", {"TTS_MODEL": "fake", "TTS_ENGINE": "fake"})


@pytest.fixture(scope="session")
def real_asr(start_service: Start) -> Service:
    """An ASR service with Whisper base."""
    return start_service("asr", {"ASR_MODEL": "whisper-base"})


@pytest.fixture(scope="session")
def real_tts(start_service: Start) -> Service:
    """A TTS service with Kokoro."""
    return start_service("tts", {"TTS_MODEL": "kokoro"})
