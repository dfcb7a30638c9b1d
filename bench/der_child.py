"""Score diarizations: [[reference turns, found turns, seconds], ...] comes in as JSON, the rates by variant go out.

A turn is [start, end, speaker]. A collar counts on each side of a boundary of the reference; pyannote.metrics wants its
whole width. Runs in an environment of its own, so it imports nothing of ours; bench/der.py starts it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

VARIANTS: dict[str, dict[str, Any]] = {
    "collar 0": {"collar": 0.0, "skip_overlap": False},
    "collar 0, no overlap": {"collar": 0.0, "skip_overlap": True},
    "collar 0.25": {"collar": 0.25, "skip_overlap": False},
    "collar 0.25, no overlap": {"collar": 0.25, "skip_overlap": True},
}
PARTS = {"confusion": "confusion", "missed": "missed detection", "false_alarm": "false alarm"}


def annotation(turns: list[list[Any]]) -> Annotation:
    """Return turns as pyannote knows them; each is a track of its own, so that equal ones of two speakers stay two."""
    found = Annotation()
    for track, (start, end, who) in enumerate(turns):
        found[Segment(start, end), track] = str(who)
    return found


def rates(
    reference: Annotation, found: Annotation, seconds: float, collar: float, skip_overlap: bool
) -> dict[str, Any]:
    """Return the error rate and its parts in percent of the time of the reference."""
    metric = DiarizationErrorRate(collar=2 * collar, skip_overlap=skip_overlap)
    scored = metric(reference, found, uem=Timeline([Segment(0, seconds)]), detailed=True)
    total = scored["total"]
    parts = {name: 100 * scored[key] / total if total else 0.0 for name, key in PARTS.items()}
    return {"der": sum(parts.values()), **parts}


def main() -> None:
    """Score what is on standard input."""
    answers = []
    for reference, found, seconds in json.load(sys.stdin):
        pair = annotation(reference), annotation(found)
        answers.append({name: rates(*pair, seconds, **how) for name, how in VARIANTS.items()})
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
