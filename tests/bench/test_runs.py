"""The two benchmarks run from end to end, in few rounds; whether their figures are good is not asserted."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import results

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
LATEST = ROOT / "bench" / "results" / "latest"


def run(name: str, **settings: str) -> tuple[dict[str, Any], str]:
    """Run a benchmark; return its file and what it printed. The file of an earlier run is put back."""
    path = LATEST / f"{name}.json"
    before = path.read_bytes() if path.is_file() else None
    command = [sys.executable, "-m", f"bench.{name}"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(path.read_text(encoding="utf-8")), done.stdout
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)


@pytest.fixture(autouse=True)
def models(model_dir: Callable[[str], Path]) -> None:
    for model in ("whisper-base", "kokoro-82m-int8"):
        model_dir(model)


def test_overhead_measures_every_figure() -> None:
    found, printed = run("overhead", QUICK="1")
    for figure in results.OVERHEAD:
        assert 0 < found[figure.key] < math.inf, figure.key
        assert figure.show(found[figure.key]) in printed
    assert found["quick"] is True
    assert found["machine"]["cores"] >= 1
    assert {side: len(samples) for side, samples in found["samples"].items() if not side.startswith("livez")} == {
        "asr_service_wav": 2,
        "asr_bare_wav": 2,
        "faster_whisper_wav": 2,
        "asr_service_mp3": 2,
        "asr_bare_mp3": 2,
        "tts_first_byte_pcm": 2,
        "tts_bare_first_piece": 2,
        "tts_first_byte_of_mp3": 2,
    }
    assert not [note for note in found["notes"] if "service and engine" in note]


def test_memory_leaves_out_the_hour_that_was_not_measured() -> None:
    found, _ = run("memory", MINUTES="0.5")
    assert results.PEAK not in found
    assert found["quick"] is True
    for key in ("asr_api_rss_mb", "tts_api_rss_mb", "asr_worker_rss_mb", "tts_worker_rss_mb"):
        assert 10 < found[key] < 2000, key
    assert set(found["samples"]) >= {"api", "worker"}
    assert found["details"]["words"] > 30
