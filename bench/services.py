"""Starting a service in a process of its own, as an operator would, and ending it."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Name = Literal["asr", "tts"]
START_SECONDS = 180.0
STOP_SECONDS = 30.0
_SETTINGS = ("ASR_", "TTS_", "DIARIZATION_", "VOICEPRINTS")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address and the process id of its API process."""

    name: Name
    url: str
    pid: int


class NotReady(Exception):
    """The service did not become ready; the message holds its last words."""


@contextmanager
def running(name: Name, settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run `voice-stack serve NAME` on a free port with the given settings and no others. Raises NotReady."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS)}
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "voice_stack", "serve", name, "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,  # a .env in the current folder would be read
            # In the state folder of a user there may be what `voice-stack tune` found.
            env=inherited
            | {"VOICE_STACK_TMP": folder, "VOICE_STACK_STATE": f"{folder}/state", "LOG_LEVEL": "WARNING"}
            | dict(settings or {}),
        )
        try:
            yield Service(name, _address(process), process.pid)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=STOP_SECONDS)
            process.kill()
            process.communicate()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101 - asked for above
    line = ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and selector.select(max(deadline - time.monotonic(), 0.0)):
            line = process.stdout.readline()
            if line.startswith("ready: "):
                return line.removeprefix("ready: ").strip()
            if not line or line.startswith("not ready: "):
                break
    raise NotReady(line.strip() or "the service ended or kept silent; what it logged is above")
