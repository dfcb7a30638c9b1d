"""What the memory benchmark tells the services."""

from __future__ import annotations

import pytest

from bench.memory import as_installed
from bench.plan import Plan


@pytest.mark.parametrize("name", ["asr", "tts"])
def test_decoders_and_threads_are_left_to_the_service(name: str) -> None:
    told = as_installed(Plan(1, 1, 0, 1.0), name)  # type: ignore[arg-type]
    assert {f"{name.upper()}_MODEL", f"{name.upper()}_DEVICE"} <= set(told)
    assert not [key for key in told if "THREADS" in key or "WORKERS" in key]


def test_the_engine_alone_and_the_service_compute_with_the_same() -> None:
    told = Plan(1, 1, 0, 1.0).service("asr")
    assert (told["ASR_WORKERS"], told["ASR_THREADS"]) == ("1", str(Plan(1, 1, 0, 1.0).threads))
