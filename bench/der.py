"""Diarization error rates, computed by pyannote.metrics in an environment of `make bench-env`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.conversations import Spoken
from bench.environments import python_of

CHILD = Path(__file__).resolve().parent / "der_child.py"
ENVIRONMENT = "diarization"
STRICT = "collar 0"
"""The variant that the figures are of: everything counts, overlap too."""


class NoMetrics(Exception):
    """The environment that computes the rates is not there; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What is wrong, in percent of the time that the reference speaks; `der` is the sum of the others."""

    der: float
    confusion: float
    missed: float
    false_alarm: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Turns to be scored: those of the reference and those that were found, in a recording of so many seconds."""

    reference: Sequence[Spoken]
    found: Sequence[Spoken]
    seconds: float


def require_metrics() -> str:
    """Return the Python that computes the rates. Raises NoMetrics."""
    python = python_of(ENVIRONMENT)
    if python is None:
        raise NoMetrics("diarizations cannot be scored: run `make bench-env`")
    return python


def score(recordings: Sequence[Scored]) -> list[Mapping[str, Rates]]:
    """Return the rates of each recording by variant (bench.der_child.VARIANTS). Raises NoMetrics."""
    python = require_metrics()
    given = json.dumps([[one.reference, one.found, one.seconds] for one in recordings])
    done = subprocess.run([python, "-P", CHILD], input=given, check=True, capture_output=True, text=True)
    return [{name: Rates(**rates) for name, rates in one.items()} for one in json.loads(done.stdout)]
