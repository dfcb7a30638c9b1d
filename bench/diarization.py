"""Who spoke, against ground truth: `make bench-diarization`; bench/README.md says what is measured.

Environment: QUICK=1 for community1 alone and few rounds, CELLS=der,both for some parts only. Exit status 1 when a part
failed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import diarization_engines, diarization_service, parts, results
from bench.diarization_plan import DiarizationBench, DiarizationPlan
from bench.machine import describe
from bench.parts import Part
from bench.speech import NoSpeech, clips
from bench.tables import shown
from core.errors import VoiceStackError

NAME = "diarization"
WIDTH = 170
"""Columns of the tables where there is no terminal."""
MEASURES: Mapping[str, Callable[[DiarizationBench], Part]] = {
    "der": diarization_engines.der,
    "counts": diarization_engines.counts,
    "speed": diarization_engines.speed,
    "memory": diarization_engines.memory,
    "voices": diarization_engines.voices,
    "known": diarization_service.known,
    "both": diarization_service.both,
}
OWNERS: Mapping[str, str] = {
    "der_sample": "der",
    "der_ami_m1": "der",
    "der_ami_m1_margin": "der",
    "confusion_conv2_noise10dB": "der",
    "speaker_count_errors": "der",
    "monologue_count_errors": "counts",
    "nospeech_turns": "counts",
    "rtfx_one_core": "speed",
    "rtfx_one_core_fast": "speed",
    "rtfx_one_core_ge2e": "speed",
    "rss_60min_mb": "memory",
    "eer_librispeech": "voices",
    "eer_librispeech_ge2e": "voices",
    "frr_librispeech": "voices",
    "far_librispeech": "voices",
    "known_speakers_correct_pct": "known",
    "both_wall_over_ideal": "both",
}
"""The part that measures each figure."""


def run(plan: DiarizationPlan, folder: Path, console: Console) -> results.Result:
    """Measure the parts of the plan, one after another, and write what is known after each. Raises NoSpeech."""
    spoken, found = clips(), results.earlier(NAME, folder)
    machine = describe()
    for name in plan.parts:
        started = time.monotonic()
        console.rule(name)
        with tempfile.TemporaryDirectory(prefix="bench-diarization-") as files:
            bench = DiarizationBench(plan, Path(files), spoken, partial(console.print, soft_wrap=True, markup=False))
            part = parts.measured(partial(MEASURES[name], bench), bench.say)
        console.print(shown(name, part.rows))
        part.details["seconds taken"] = round(time.monotonic() - started)
        if not machine.idle:
            part.notes.append(f"the machine was busy before the start (load {machine.load})")
        new = results.Result(
            measured_at=results.now(), quick=plan.quick, machine=machine, settings=plan.facts, unit="s", samples={}
        )
        found = parts.result({name: part}, OWNERS, found, new)
        results.write(NAME, found, folder)
    if found is None:
        raise ValueError("a plan without parts")
    return found


def main() -> int:
    """Measure, print the tables, write bench/results/latest/diarization.json; return 1 when a part failed."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        result = run(DiarizationPlan.from_environment(), results.LATEST, console)
    except (NoSpeech, VoiceStackError, ValueError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 2
    results.publish(NAME, result, console)
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
