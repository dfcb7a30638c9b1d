"""The menus are whole: make targets, nox sessions, hatch scripts, hooks, GitLab jobs, debugger configurations."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MAKE = shutil.which("make") or "make"
SESSIONS = [
    "fmt",
    "lint",
    "typecheck",
    "tests",
    "contract",
    "e2e",
    "docs",
    "openapi",
    "cover",
    "bench",
    "build",
    "ci",
    "extras",
    "conformance",
    "clients-latest",
]
TARGETS = [
    "help",
    "install",
    "dev",
    "run",
    "demo",
    "test",
    "lint",
    "fmt",
    "typecheck",
    "docs",
    "docs-check",
    "check-docker",
    "test-extras",
    "test-base",
    "bench-overhead",
    "bench-memory",
    "bench-upload",
    "bench-load",
    "engines",
    "conformance",
    "conformance-real",
    "clean",
    "bench-env",
    "bench-asr",
    "bench-tts",
    "bench-gpu",
]
HATCH_SCRIPTS = [
    "run_asr",
    "run_tts",
    "run_asr_dbg",
    "run_tts_dbg",
    "fmt",
    "lint",
    "typecheck",
    "test",
    "cov",
    "test-asr",
    "test-tts",
    "test-core",
    "test-utils",
    "test-integration",
]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nox_menu() -> dict[str, str]:
    """Session names without their Python version, and what the menu says of them."""
    shown = subprocess.check_output([BIN / "nox", "--list"], cwd=ROOT, text=True)
    return dict(re.findall(r"^[*-] ([a-z0-9]+(?:-[a-z]+)?)(?:-[0-9.]+)? -> (.*)$", shown, flags=re.MULTILINE))


def test_every_session_is_there_and_says_what_it_does(nox_menu: dict[str, str]) -> None:
    assert set(SESSIONS) == set(nox_menu)
    assert all(nox_menu.values())


def test_nox_alone_runs_lint_types_and_tests() -> None:
    listed = json.loads(subprocess.check_output([BIN / "nox", "--list", "--json"], cwd=ROOT, text=True))
    assert {session["name"] for session in listed} == {"lint", "typecheck", "tests"}
    assert {session["python"] for session in listed if session["name"] == "tests"} == {"3.11", "3.12", "3.13"}


def test_make_lists_its_targets() -> None:
    shown = subprocess.check_output([MAKE], cwd=ROOT, text=True)
    listed = re.findall(r"^  make (\S+) +\S", shown, flags=re.MULTILINE)
    assert set(TARGETS) <= set(listed)


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_how_to_reach_each_target(target: str) -> None:
    done = subprocess.run([MAKE, "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"


def test_hatch_knows_every_script(pyproject: dict[str, Any]) -> None:
    assert set(HATCH_SCRIPTS) <= set(pyproject["tool"]["hatch"]["envs"]["default"]["scripts"])


def test_hooks_run_nox(nox_menu: dict[str, str]) -> None:
    subprocess.run([BIN / "pre-commit", "validate-config"], cwd=ROOT, check=True)
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == ["nox -s fmt", "nox -s lint"]
    assert all(repo["repo"] == "local" for repo in config["repos"])


def test_gitlab_jobs_use_what_exists(nox_menu: dict[str, str], pyproject: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    assert any("Secret-Detection" in one["template"] for one in config["include"])
    assert config["all"]["script"] == "make test"
    jobs = {name: job for name, job in config.items() if isinstance(job, dict) and "script" in job}
    scripts = pyproject["tool"]["hatch"]["envs"]["default"]["scripts"]
    for name, job in jobs.items():
        assert job["stage"] in config["stages"], name
        if job["script"].startswith("nox -s "):
            assert job["script"].removeprefix("nox -s ").partition("-")[0] in nox_menu
    parts = jobs["parts"]["parallel"]["matrix"][0]["PART"]
    assert {f"test-{part}" for part in parts} <= set(scripts)


def test_the_debugger_attaches_where_the_services_listen() -> None:
    config = json.loads((ROOT / ".vscode" / "launch.json").read_text(encoding="utf-8"))
    attach = [one for one in config["configurations"] if one["request"] == "attach"]
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    for one in attach:
        assert f"DEBUGPY_HOST={one['connect']['host']}" in example
        assert f"DEBUGPY_PORT={one['connect']['port']}" in example
