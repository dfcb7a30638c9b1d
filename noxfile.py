"""The menu of checks: `nox -l` lists it, `nox` runs lint, typecheck and tests.

`fmt`, `lint` and `build` get a small environment of their own at the tool versions of the `dev` extra, `tests` one per
Python version; the others use the checkout's `.venv`, which `make` keeps up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

import nox

DEV = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
PYTHONS = ["3.11", "3.12", "3.13"]
BIN = Path(".venv") / "bin"

nox.needs_version = ">=2024.4"
nox.options.sessions = ["lint", "typecheck", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"

checkout = nox.session(venv_backend="none")


def install(session: nox.Session, wanted: str, *arguments: str) -> None:
    """Install into the session's own environment, unless what is wanted is there already."""
    stamp = Path(session.virtualenv.location) / "installed.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        session.install("-q", *(arguments or (wanted,)))
        stamp.write_text(wanted, encoding="utf-8")


def requirement(name: str) -> str:
    """Return the line of the `dev` extra for one tool."""
    return next(line for line in DEV if re.split(r"[\[<>=~!]", line)[0] == name)


def make(session: nox.Session, *targets: str) -> None:
    """Bring the checkout's .venv (and the models) up to date."""
    session.run("make", "--no-print-directory", *targets, external=True)


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the checkout's .venv."""
    session.run(str(BIN / program), *arguments, external=True)


@nox.session
def fmt(session: nox.Session) -> None:
    """Format the code and sort imports (changes files)."""
    install(session, requirement("ruff"))
    session.run("ruff", "check", "--select", "I", "--fix", *(session.posargs or ["."]))
    session.run("ruff", "format", *(session.posargs or ["."]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting and style (read-only)."""
    install(session, requirement("ruff"))
    session.run("ruff", "format", "--check", *(session.posargs or ["."]))
    session.run("ruff", "check", *(session.posargs or ["."]))


@checkout
def typecheck(session: nox.Session) -> None:
    """Run mypy with the project's configuration."""
    make(session, "dev")
    run(session, "mypy", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the whole suite under every supported Python that is installed, each in a fresh environment."""
    install(session, Path("pyproject.toml").read_text(encoding="utf-8"), "-e", ".[dev,piper]")
    session.run("voice-stack", "models", "pull", "whisper-base", "kokoro", "whisper-tiny.en", "piper-en_US-joe-medium")
    session.run("python", "-m", "pytest", *session.posargs)


@checkout
def contract(session: nox.Session) -> None:
    """Run the assertions that every engine must meet."""
    make(session, "test-models")
    run(session, "pytest", "tests/contract", *session.posargs)


@checkout
def e2e(session: nox.Session) -> None:
    """Run the tests that start real services or load real models."""
    make(session, "test-models")
    run(session, "pytest", "-m", "e2e", *session.posargs)


@checkout
def conformance(session: nox.Session) -> None:
    """Run the HTTP contract with OpenAI's SDKs and the other clients, against services with the fake engine."""
    make(session, "dev", "conformance-envs")
    run(session, "python", "-m", "tests.conformance", *session.posargs)


@nox.session(name="clients-latest", venv_backend="none")
def clients_latest(session: nox.Session) -> None:
    """Try the newest of OpenAI's SDKs; outside CI, since a release of theirs may break it."""
    make(session, "dev")
    folder = ".venv-conformance-newest"
    session.run("scripts/make-conformance-envs.sh", folder, env={"NEWEST": "1"}, external=True)
    run(session, "python", "-m", "tests.conformance", "--newest", *session.posargs)


@checkout
def docs(session: nox.Session) -> None:
    """Check the generated pages and run what the README and the examples show; `-- --write` regenerates the pages."""
    if session.posargs == ["--write"]:
        make(session, "docs")
        return
    make(session, "test-models", "docs-check")
    run(session, "pytest", "tests/docs", *session.posargs)


@checkout
def openapi(session: nox.Session) -> None:
    """Compare docs/openapi with what the services declare; `-- --write` regenerates it."""
    make(session, "dev")
    mode = [] if session.posargs == ["--write"] else ["--check"]
    run(session, "python", "scripts/generate_docs.py", "openapi", *mode)


@checkout
def cover(session: nox.Session) -> None:
    """Run the tests with coverage and report missing lines."""
    make(session, "test-models")
    run(session, "pytest", "--cov", "--cov-report=term-missing", *session.posargs)


@checkout
def bench(session: nox.Session) -> None:
    """Measure what the service costs on top of its engines, and its memory."""
    make(session, "bench-overhead", "bench-memory")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the source distribution into dist/."""
    install(session, requirement("hatch"))
    session.run("hatch", "build", "--clean")


@checkout
def ci(session: nox.Session) -> None:
    """Run everything CI runs: formatting, ruff, mypy, generated pages, images, pytest."""
    make(session, "test")


@checkout
def extras(session: nox.Session) -> None:
    """Test the engines behind extras in an environment of their own (with torch)."""
    make(session, "test-extras")
