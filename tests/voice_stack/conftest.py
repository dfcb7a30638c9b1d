"""What tests of the command line share: a service that can be killed and started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FAKE = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "ASR_ENGINE_OPTIONS__DELAY": "0.1"}


class Restarting:
    """An ASR service with the fake engine that is always at one address and keeps its jobs."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = str(probe.getsockname()[1])
        self._folder = folder
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start the service and wait until it is ready."""
        places = {"VOICE_STACK_STATE": str(self._folder / "state"), "VOICE_STACK_TMP": str(self._folder / "tmp")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "voice_stack", "serve", "asr", "--port", self._port],
            env={**os.environ, **FAKE, **places},
            cwd=self._folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("ready: ")

    def kill(self) -> None:
        """End the service as a crash would."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def restarting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarting]:
    """A service to kill and to start again."""
    service = Restarting(tmp_path_factory.mktemp("restarting"))
    yield service
    service.kill()
