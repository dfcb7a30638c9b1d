"""The environments of `make bench-env`, which hold the programs that ours are compared with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

FOLDER = Path(os.environ.get("BENCH_ENVIRONMENTS") or Path(__file__).resolve().parent.parent / ".venv-bench")
_VERSIONS = """\
import json, sys
from importlib.metadata import distributions
found = {one.name: one.version for one in distributions()}
print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))
"""


def python_of(name: str) -> str | None:
    """Return the Python of an environment; None when it was not built whole."""
    folder = FOLDER / name
    return str(folder / "bin" / "python") if (folder / "built.stamp").is_file() else None


def program(name: str) -> str | None:
    """Return the command of the same name in an environment; None when it was not built whole."""
    return str(FOLDER / name / "bin" / name) if python_of(name) else None


def versions(name: str, *packages: str) -> dict[str, str]:
    """Return the versions of packages in an environment; those that are not in it are left out."""
    python = python_of(name)
    if python is None:
        return {}
    done = subprocess.run([python, "-c", _VERSIONS, *packages], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
