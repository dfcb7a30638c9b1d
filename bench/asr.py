"""Our ASR service beside faster-whisper and programs around it: `make bench-asr`; bench/README.md says what is done.

Environment: QUICK=1 for few clips and rounds, CELLS=short,c8 for some parts only. Exit status 1 when texts drift.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import asr_estimate, asr_service, asr_speed, parts, results
from bench.asr_bench import Bench
from bench.asr_plan import AsrPlan
from bench.machine import describe
from bench.parts import Part
from bench.speech import NoSpeech, clips
from core.errors import VoiceStackError

NAME = "asr"
MEASURES: Mapping[str, Callable[[Bench], Part]] = {
    "short": asr_speed.short,
    "c8": asr_speed.clients,
    "long": asr_speed.long,
    "mixed": asr_service.mixed,
    "livez": asr_service.livez,
    "memory": asr_service.memory,
    "reload": asr_service.reload,
}
OWNERS: Mapping[str, str] = {
    "short_clips_vs_bare_speedup": "short",
    "short_clips_wer_delta_points": "short",
    "short_clips_edits": "short",
    "short_clips_bare_edits": "short",
    "throughput_vs_servers_c8": "c8",
    "throughput_vs_faster_whisper_server_c8": "c8",
    "throughput_vs_whisper_ctranslate2_c8": "c8",
    "throughput_vs_bare_2x1_c8": "c8",
    "long_file_vs_bare_speedup": "long",
    "long_file_vs_bare_batched_speedup": "long",
    "long_file_wer_delta_points": "long",
    "mixed_short_p95_vs_alone": "mixed",
    "livez_p99_ms": "livez",
    "rss_over_idle_mb_60min": "memory",
    "load_seconds": "reload",
    "reload_seconds": "reload",
    "rss_unloaded_mb": "reload",
}
"""The part that measures each figure."""


def run(plan: AsrPlan, folder: Path, console: Console) -> results.Result:
    """Measure the parts of the plan, one after another, and write what is known after each. Raises NoSpeech."""
    spoken, found = clips(), results.earlier(NAME, folder)
    machine = describe()
    console.print(f"about {asr_estimate.minutes(plan, spoken):.0f} minutes on {asr_estimate.CORES} cores")
    for name in plan.parts:
        started = time.monotonic()
        console.rule(name)
        with tempfile.TemporaryDirectory(prefix="bench-asr-") as files:
            bench = Bench(plan, Path(files), spoken, partial(console.print, soft_wrap=True, markup=False))
            part = parts.measured(partial(MEASURES[name], bench), bench.say)
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
    """Measure, print the table, write bench/results/latest/asr.json, and say by the status whether the texts hold."""
    console = Console()
    try:
        result = run(AsrPlan.from_environment(), results.LATEST, console)
    except (NoSpeech, VoiceStackError, ValueError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 2
    results.publish(NAME, result, console)
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
