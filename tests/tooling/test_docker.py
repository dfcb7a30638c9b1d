"""The two images as far as that can be told without building them: lint, context, install commands, health check."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"asr": 5001, "tts": 5002}


def instructions(service: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order, continuation lines joined."""
    text = (ROOT / f"Dockerfile.{service}").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def allowed_by_dockerignore() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What the image's build stage sees under /src: the files that .dockerignore lets through."""
    folder = tmp_path / "src"
    folder.mkdir()
    for name in allowed_by_dockerignore():
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    return folder


@pytest.mark.parametrize("service", SERVICES)
def test_hadolint_finds_nothing(service: str) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, ROOT / f"Dockerfile.{service}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_the_build_context_holds_what_is_copied(service: str) -> None:
    copied = [
        source
        for word, rest in instructions(service)
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in allowed_by_dockerignore(), source


@pytest.mark.parametrize("service", SERVICES)
def test_a_plain_build_can_use_a_gpu(service: str) -> None:
    found = instructions(service)
    assert ("ARG", "DEVICE=cuda") in found
    assert [rest for word, rest in found if word == "FROM" and " AS base-" not in rest] == [
        "base-${DEVICE} AS build",
        "base-${DEVICE}",
    ]
    assert "${CUDA_IMAGE} AS base-cuda" in [rest for word, rest in found if word == "FROM"]


@pytest.mark.parametrize(("service", "port"), SERVICES.items())
def test_the_image_runs_the_service_without_privileges(service: str, port: int) -> None:
    found = dict(instructions(service))
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", found["USER"])
    assert found["EXPOSE"] == str(port)
    assert found["WORKDIR"] == "/app"  # `-v ./voices:/app/voices` relies on it
    assert f"{service.upper()}_HOST=0.0.0.0" in found["ENV"]
    assert json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"]) == ["voice-stack", "serve", service]


@pytest.mark.e2e
def test_the_install_commands_work(
    context: Path, fresh_venv: Callable[[Path], Path], plain_environ: dict[str, str], tmp_path: Path
) -> None:
    prefix = fresh_venv(tmp_path / "prefix")
    command = [str(context / "scripts" / "docker-install.sh"), str(prefix), str(context), "cpu", "", ""]
    done = subprocess.run(command, env=plain_environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^voice-stack \d", done.stdout, flags=re.MULTILINE)
    code = "import voice_stack, core; print(voice_stack.__file__, core.__path__[0])"
    where = subprocess.check_output(
        [prefix / "bin" / "python", "-P", "-c", code], env=plain_environ, text=True, cwd="/"
    )
    assert all(path.startswith(str(prefix)) for path in where.split())


def test_the_install_script_refuses_an_unknown_device(context: Path, tmp_path: Path) -> None:
    command = [str(context / "scripts" / "docker-install.sh"), str(tmp_path / "prefix"), str(context), "tpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "docs/devices.md" in done.stderr
    assert not (tmp_path / "prefix").exists()


def health_check(service: str, env: dict[str, str]) -> int:
    (rest,) = [rest for word, rest in instructions(service) if word == "HEALTHCHECK"]
    interpreter, *arguments = json.loads(rest.partition("CMD ")[2])
    assert interpreter == "python3"
    return subprocess.run(
        [sys.executable, *arguments], env=os.environ | env, capture_output=True, check=False
    ).returncode


@pytest.mark.parametrize("service", SERVICES)
def test_the_health_check_fails_where_nothing_answers(service: str) -> None:
    assert health_check(service, {f"{service.upper()}_PORT": "1"}) != 0


@pytest.mark.e2e
@pytest.mark.parametrize("service", SERVICES)
def test_the_health_check_passes_on_a_running_service(service: str, request: pytest.FixtureRequest) -> None:
    running: Any = request.getfixturevalue(f"fake_{service}")
    port = running.url.rpartition(":")[2]
    assert health_check(service, {f"{service.upper()}_PORT": port}) == 0
