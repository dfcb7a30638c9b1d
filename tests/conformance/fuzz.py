"""schemathesis against both OpenAPI documents: whatever fits or breaks a schema, no answer is a 5xx other than 501."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.conformance.rows import Client, Table
from tests.conformance.sdks import ENVIRONMENTS
from tests.conformance.target import LeftOut, Target

table = Table(Client("schemathesis", "4.32.5", "real client"))
PROGRAM = ENVIRONMENTS / "schemathesis" / "bin" / "schemathesis"
CONFIG = Path(__file__).parent / "schemathesis.toml"
EXAMPLES = 25
SECONDS = 120


@table.row("A0.1", "no 5xx for what the OpenAPI document of {} describes", "every operation", each=["asr", "tts"])
def fuzz(target: Target, which: str) -> None:
    target.fake()
    url = str(target.special(f"fuzz-{which}").base_url).rstrip("/")
    if not PROGRAM.exists():
        raise LeftOut("not installed: run scripts/make-conformance-envs.sh")
    done = subprocess.run(
        [
            str(PROGRAM), "--config-file", str(CONFIG), "run", f"{url}/openapi.json",
            "--checks", "not_a_server_error",
            "--phases", "coverage,fuzzing",
            "--max-examples", str(EXAMPLES),
            "--generation-deterministic", "--warnings", "off",
            "--request-timeout", "20", "--no-color",
        ],
        capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    commands = re.findall(r"(?m)^ +(curl .*)$", done.stdout)
    assert done.returncode == 0, " | ".join(commands)[:900] or (done.stdout + done.stderr)[-900:]
