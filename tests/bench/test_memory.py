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
