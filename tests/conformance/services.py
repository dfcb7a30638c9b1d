"""Services with the fake engine, each in a process of its own, started when a row first needs them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import httpx

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.service import SHORT_CALLS
from tests import full_service

START_SECONDS = 60
FAKE = {
    "asr": {
        "ASR_MODEL": "fake",
        "ASR_ENGINE": "fake",
        "DIARIZATION_MODEL": "fake-diarizer",
        "DIARIZATION_ENGINE": "fake-diarizer",
    },
    "tts": {"TTS_MODEL": "fake", "TTS_ENGINE": "fake"},
}
KEY = "conformance-key"
KEYS = {"API_KEYS": f"{KEY},another-key"}


class Special(NamedTuple):
    """A service and the settings it is started with."""

    service: str
    settings: dict[str, str]
    is_ready: bool = True
    files: Mapping[str, str] = MappingProxyType({})  # by path in its folder


MODELS = """
[models.down]
engine = "fake"
task = "TASK"
options = { load_fails = true }

[models.second]
engine = "fake"
task = "TASK"
aliases = ["another"]

[models.slow]
engine = "fake"
task = "TASK"
SLOW
[chains]
chained = ["down", "second"]
"""
PULLED = "whisper-tiny"
MIRROR = {f"mirror/{PULLED}/{name}": "{}" for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")}
# Nothing that it pulls or deletes is anybody's.
SEVERAL = {"VOICE_STACK_CACHE": "cache", "VOICE_STACK_MODELS": "mirror", "MODEL_SLOTS": "4"}


def _models(task: str, slow: str = "") -> dict[str, str]:
    return {"models.toml": MODELS.replace("TASK", task).replace("SLOW", slow), **MIRROR}


SPECIAL = {
    "asr": Special("asr", {}),
    "tts": Special("tts", {}),
    "asr-strict": Special(
        "asr",
        {
            **KEYS,
            "MAX_UPLOAD_MB": "1",
            "MAX_AUDIO_SECONDS": "20",
            "CORS_ORIGINS": "https://app.example",
            "MODEL_FALLBACK": "true",
            "EMPTY_SUBTITLE": "blank",
            "DIARIZATION_MODEL": "none-is-installed",
            "DIARIZATION_ENGINE": "community1",
        },
    ),
    # All that it takes run at once, one may wait, a second of audio takes half a second.
    "asr-busy": Special(
        "asr",
        {
            "ASR_WORKERS": str(SHORT_CALLS),
            "ASR_MAX_WAITING": "1",
            "ASR_TIMEOUT": "4",
            "ASR_ENGINE_OPTIONS__DELAY": "0.5",
        },
    ),
    "asr-full": Special("asr", full_service.SETTINGS),
    # One piece of audio, of at most a minute, at a time; a minute takes three seconds.
    "asr-slow": Special("asr", {"ASR_WORKERS": "1", "HEARTBEAT_SECONDS": "1", "ASR_ENGINE_OPTIONS__DELAY": "0.05"}),
    # Its engine is made to crash, and one that crashes too often is not started again for a while.
    "asr-fragile": Special("asr", {}),
    "asr-people": Special("asr", {"VOICEPRINTS": "on"}),
    "asr-loading": Special("asr", {"ASR_ENGINE_OPTIONS__LOAD_DELAY": "300", "MODEL_LOAD_TIMEOUT": "1"}, is_ready=False),
    "tts-strict": Special("tts", {**KEYS, "VOICE_CONSENT": "required", "TTS_MAX_INPUT": "4096"}),
    "tts-open": Special("tts", {"TTS_HOST": "0.0.0.0", "VOICE_CLONING": "false"}),
    "asr-models": Special("asr", SEVERAL, files=_models("asr", "options = { delay = 0.5 }")),
    "tts-models": Special("tts", SEVERAL, files=_models("tts")),
    "fuzz-asr": Special("asr", {"VOICEPRINTS": "on"}),
    "fuzz-tts": Special("tts", {}),
}
REAL = {"asr": {"ASR_MODEL": "whisper-base"}, "tts": {"TTS_MODEL": "kokoro"}}


class Services:
    """Starts the services of SPECIAL, at most one of each, with folders of their own."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="voice-stack-conformance-")
        self._running: dict[str, tuple[subprocess.Popen[bytes], str]] = {}

    def url(self, name: str) -> str:
        """Return the base URL of a service with the fake engine, once it is ready."""
        if name not in self._running:
            special = SPECIAL[name]
            for path, text in special.files.items():
                place = Path(self._folder.name) / name / "cwd" / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
            self._start(name, special.service, {**FAKE[special.service], **special.settings}, ready=special.is_ready)
        return self._running[name][1]

    def fresh(self, name: str) -> str:
        """As `url`, but of a process that has just been started."""
        if name in self._running:
            _end([self._running.pop(name)[0]])
            shutil.rmtree(Path(self._folder.name) / name)
        return self.url(name)

    def real(self, service: str) -> str:
        """Return the base URL of a service with its usual model."""
        name = f"real-{service}"
        if name not in self._running:
            self._start(name, service, REAL[service], ready=True)
        return self._running[name][1]

    def voices_folder(self, name: str) -> Path:
        """The voice folder of a running service."""
        return Path(self._folder.name) / name / "voices"

    def close(self) -> None:
        """End them all."""
        _end([process for process, _ in self._running.values()])
        self._running.clear()
        self._folder.cleanup()

    def _start(self, name: str, service: str, settings: dict[str, str], *, ready: bool) -> None:
        home = Path(self._folder.name) / name
        for part in ("state", "tmp", "voices", "cwd"):
            (home / part).mkdir(parents=True, exist_ok=True)
        port = _free_port()
        ours = (
            "ASR_", "TTS_", "API_KEYS", "CORS_", "DIARIZATION_", "MODEL_", "MAX_", "VOICE_CONSENT", "VOICE_CLONING",
            "VOICEPRINTS", "MODELS_FILE",
        )  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        places = {
            "VOICE_STACK_STATE": str(home / "state"),
            "VOICE_STACK_TMP": str(home / "tmp"),
            "TTS_VOICE_DIR": str(home / "voices"),
        }
        with (home / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "voice_stack", "serve", service, "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, **places, **settings},
                cwd=home / "cwd",
            )
        url = f"http://127.0.0.1:{port}"
        self._running[name] = (process, url)
        _wait(process, url + ("/readyz" if ready else "/livez"), home / "log.txt")


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"a service did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
