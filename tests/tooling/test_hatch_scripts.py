"""Every hatch script starts: the services answer and stop, the tools do their work on a file of the test's own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
HATCH = str(Path(sys.executable).parent / "hatch")
START_SECONDS = 60.0


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """hatch takes the running environment for its own; the services take the fake engines."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ASR_", "TTS_", "PYTEST_", "DEBUGPY_"))}
    return clean | {
        "HATCH_ENV_TYPE_VIRTUAL_PATH": sys.prefix,
        "ASR_MODEL": "fake",
        "ASR_ENGINE": "fake",
        "TTS_MODEL": "fake",
        "TTS_ENGINE": "fake",
        "VOICE_STACK_TMP": str(tmp_path),
        "NO_COLOR": "1",
    }


def hatch(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HATCH, "run", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until the service is ready: with auto-reload there is no line to wait for."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(transport=httpx.HTTPTransport(retries=5), trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{url}/readyz").status_code == 200:
                    return
    pytest.fail(f"{url} did not become ready: {log.read_text()}")


@contextmanager
def running(script: str, env: dict[str, str], log: Path) -> Iterator[str]:
    """Run a service's script in a session of its own, give its address once it is ready, stop it as Ctrl-C would."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [HATCH, "run", script, "--port", str(port)],
            cwd=ROOT,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_ready(url := f"http://127.0.0.1:{port}", process, log)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                pytest.fail(f"`hatch run {script}` did not stop: {log.read_text()}")


@pytest.mark.parametrize("script", ["run_asr", "run_tts"])
def test_the_service_starts_and_documents_itself(script: str, environ: dict[str, str], tmp_path: Path) -> None:
    with running(script, environ, tmp_path / "log") as url:
        for path in ("/docs", "/health", "/healthz", "/healthcheck"):
            assert httpx.get(url + path, trust_env=False).status_code == 200, path


@pytest.mark.parametrize("script", ["run_asr_dbg", "run_tts_dbg"])
def test_a_debugger_can_attach(script: str, environ: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    with (
        running(script, environ | {"DEBUGPY_PORT": str(port)}, tmp_path / "log"),
        socket.create_connection(("127.0.0.1", port), timeout=10) as debugger,
    ):
        # The adapter greets with an event of the debug adapter protocol.
        assert debugger.recv(16).startswith(b"Content-Length:")


def test_fmt_formats(environ: dict[str, str], tmp_path: Path) -> None:
    untidy = tmp_path / "untidy.py"
    untidy.write_text("import sys\nimport os\nprint( os.name,sys.path )\n")
    assert hatch("fmt", str(untidy), env=environ).returncode == 0
    assert untidy.read_text() == "import os\nimport sys\n\nprint(os.name, sys.path)\n"


def test_lint_refuses_and_changes_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    untidy = tmp_path / "untidy.py"
    untidy.write_text("import sys\nimport os\nprint( os.name,sys.path )\n")
    assert hatch("lint", str(untidy), env=environ).returncode != 0
    assert untidy.read_text().startswith("import sys\nimport os\n")


def test_typecheck_finds_a_wrong_type(environ: dict[str, str], tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("number: int = 1\n")
    assert hatch("typecheck", str(module), env=environ).returncode == 0
    module.write_text("number: int = 'one'\n")
    done = hatch("typecheck", str(module), env=environ)
    assert done.returncode != 0
    assert "Incompatible types" in done.stdout


@pytest.mark.parametrize("script", ["test", "cov"])
def test_one_file_can_be_tested(script: str, environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "test_one.py"
    file.write_text("import utils.sse\n\n\ndef test_one():\n    assert utils.sse\n")
    env = environ | {"COVERAGE_FILE": str(tmp_path / "coverage")}
    done = hatch(script, str(file), env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert ("Missing" in done.stdout) == (script == "cov")


@pytest.mark.parametrize("part", ["asr", "tts", "core", "utils", "integration"])
def test_each_part_of_the_suite_can_be_run(part: str, environ: dict[str, str]) -> None:
    script = {"PYTEST_ADDOPTS": "--collect-only -q"}
    done = hatch(f"test-{part}", env=environ | script)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = "contract" if part == "integration" else part
    assert f"tests/{folder}/" in done.stdout
