"""Create a virtual environment with an editable install of this checkout, saying what happens in short lines.

Runs under any Python 3.11+ with nothing installed. Called by the Makefile: `python3 scripts/make_env.py .venv`.
Not for production: the systemd scripts and the images install a wheel.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
DOWNLOAD = re.compile(r"^\s+Downloading (\S+?)-\d\S* \((.*)\)")


def main() -> int:
    """Create or update the environment; the exit status is pip's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--extras", default="", help="comma-separated extras, for example dev,piper")
    arguments = parser.parse_args()
    if sys.version_info < OLDEST:
        print(f"voice-stack needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11 …")
        return 1
    if not (python := arguments.venv / "bin" / "python").exists():
        print(f"creating {arguments.venv} with Python {sys.version.split()[0]}", flush=True)
        if problem := create(arguments.venv, python):
            print(problem)
            return 1
    target = f"{ROOT}[{arguments.extras}]" if arguments.extras else str(ROOT)
    label = f"voice-stack[{arguments.extras}]" if arguments.extras else "voice-stack"
    print(f"installing {label} into {arguments.venv} (several hundred MB the first time)", flush=True)
    return install(python, target)


def create(venv: Path, python: Path) -> str:
    """Create the environment; return a sentence for the user when that is not possible here."""
    if _quiet([sys.executable, "-m", "venv", str(venv)]):
        return ""
    # Debian splits ensurepip into python3-venv; a pip elsewhere on the machine can stand in for it.
    if _quiet([sys.executable, "-m", "venv", "--without-pip", "--clear", str(venv)]) and _quiet(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "pip"]
    ):
        return ""
    return "cannot create a virtual environment with pip: install python3-venv (Debian: apt install python3-venv)"


def _quiet(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def install(python: Path, target: str) -> int:
    """Run pip; show one line per download of a megabyte or more, everything when it fails."""
    command = [str(python), "-m", "pip", "install", "--progress-bar=off", "--disable-pip-version-check", "-e", target]
    started = time.monotonic()
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            lines.append(line)
            if shown := progress(line):
                print(shown, flush=True)
    if pip.returncode:
        print("".join(lines))
        return pip.returncode
    print(f"installed in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def progress(line: str) -> str | None:
    """Return what is worth showing of a line of pip's output."""
    if (match := DOWNLOAD.match(line)) and not match[2].endswith((" kB", " bytes")):
        return f"  downloading {match[1]} ({match[2]})"
    if line.startswith("Installing collected packages:"):
        return f"  installing {line.count(',') + 1} packages"
    return None


if __name__ == "__main__":
    sys.exit(main())
