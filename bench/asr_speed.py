"""The parts of `make bench-asr` that compare: short clips one by one, many clients, and long files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench import peers
from bench.asr_bench import BATCHED, PLAIN, SEQUENTIAL, SPREAD, Bench, speedup, throughput
from bench.asr_check import check, check_beside, check_points
from bench.asr_plan import CLIENTS, QUICK_CLIPS
from bench.parts import Part
from bench.peers import Variant
from bench.results import LONG_WER_LIMIT, WER_LIMIT
from bench.sides import OURS, Resident, Run, Runs, Side
from bench.speech import Clip, at_least, recording, some

CELL_SHORT, CELL_REST, CELL_MINUTE, CELL_LONG = "clips of 2-12 s", "the other clips", "60 s", "10 min"
CLIPS_PER_CLIENT = 4


def short(bench: Bench) -> Part:
    """Measure one client with short clips, and in a whole run the word errors of all clips."""
    part, plan, clips = Part(), bench.plan, bench.short
    rest = [] if plan.quick else [clip for clip in bench.clips if clip not in clips]
    with bench.sides(SEQUENTIAL, PLAIN, *(() if plan.quick else (BATCHED,))) as sides:
        runs = bench.measure(CELL_SHORT, sides, clips, clients=1, rounds=plan.rounds)
        for side in sides:
            bench.tell(part, CELL_SHORT, side, runs[side.name], clients=1)
        others = bench.measure(CELL_REST, sides, rest, clients=1, rounds=plan.rounds) if rest else {}
        for side in sides if rest else ():
            bench.tell(part, CELL_REST, side, others[side.name], clients=1)
    for name, found in runs.items():
        part.samples[name] = [round(one.seconds, 4) for run in found for one in run.heard]
    check_beside(part, CELL_SHORT, runs, SEQUENTIAL)
    if others:
        check_beside(part, CELL_REST, others, SEQUENTIAL)
    if faster := [speedup(runs, name) for name in (SEQUENTIAL, PLAIN) if name in runs]:
        part.figures["short_clips_vs_bare_speedup"] = min(faster)
    if not plan.quick:
        _compare_words(part, _joined(runs, others))
    return part


def _joined(runs: Runs, others: Runs) -> Runs:
    """Return each round of the one with the same round of the other behind it."""
    if not others:
        return runs
    return {
        name: [
            Run((*one.heard, *other.heard), one.seconds + other.seconds, 0.0, 0.0)
            for one, other in zip(found, others[name], strict=True)
        ]
        for name, found in runs.items()
    }


def _compare_words(part: Part, runs: Runs) -> None:
    if found := check_points(part, "all clips", runs, SEQUENTIAL, limit=WER_LIMIT):
        delta, mine, theirs = found
        part.figures |= {
            "short_clips_wer_delta_points": delta,
            "short_clips_edits": mine,
            "short_clips_bare_edits": theirs,
        }


def clients(bench: Bench) -> Part:
    """Measure eight clients with short clips against bare faster-whisper and the other programs, and other numbers."""
    part, plan, clips = Part(peers=peers.versions()), bench.plan, bench.short
    programs = {} if plan.model is None else peers.variants(plan.model, plan.threads)
    for missing in sorted({peers.SERVER, peers.CLI} - set(programs)):
        part.notes.append(f"{missing} is not installed and was left out: run `make bench-env`")
    with bench.sides(SPREAD) as sides, ExitStack() as stack:
        runs: Runs = {}
        for name, ways in programs.items():
            if (best := _best(bench, part, name, ways)) is not None:
                told, runs[name] = best
                if plan.peer_rounds > 1:
                    sides.append(stack.enter_context(ways[told]()))
        runs |= bench.measure(CELL_SHORT, sides, clips, clients=CLIENTS, rounds=plan.rounds)
        for side in sides:
            bench.tell(part, CELL_SHORT, side, runs[side.name], clients=CLIENTS)
        check_beside(part, f"{CELL_SHORT}, {CLIENTS} clients", runs, SPREAD)
        for number in plan.other_clients:
            _other(bench, part, [side for side in sides if isinstance(side, Resident)], number)
    part.samples = {name: [round(run.throughput, 3) for run in found] for name, found in runs.items()}
    _compare_throughput(part, runs)
    return part


def _best(bench: Bench, part: Part, name: str, ways: Mapping[str, Variant]) -> tuple[str, list[Run]] | None:
    """Run a program each way once; return the fastest way and its run."""
    found: dict[str, list[Run]] = {}
    for told, way in ways.items():
        runs = _once(bench, part, way, CELL_SHORT, some(bench.short, QUICK_CLIPS), clients=CLIENTS)
        if runs and not any(run.errors for run in runs):
            found[told] = runs
    if not found:
        part.notes.append(f"{name} did not transcribe")
        return None
    best = max(found, key=lambda told: throughput(found[told]))
    part.peers.setdefault(name, {})["fastest"] = best
    return best, found[best]


def _once(bench: Bench, part: Part, way: Variant, cell: str, clips: Sequence[Clip], *, clients: int) -> list[Run]:
    try:
        with way() as side:
            runs = bench.measure(cell, [side], clips, clients=clients, rounds=1)[side.name]
            bench.tell(part, cell, side, runs, clients=clients)
            return runs
    except RuntimeError as error:
        part.notes.append(str(error))
        return []


def _other(bench: Bench, part: Part, sides: Sequence[Side], number: int) -> None:
    clips = at_least(some(bench.short, QUICK_CLIPS), bench.folder, CLIPS_PER_CLIENT * number)
    runs = bench.measure(CELL_SHORT, sides, clips, clients=number, rounds=bench.plan.rounds)
    for side in sides:
        bench.tell(part, CELL_SHORT, side, runs[side.name], clients=number)
    check_beside(part, f"{CELL_SHORT}, {number} clients", runs, SPREAD)


def _compare_throughput(part: Part, runs: Runs) -> None:
    ours = throughput(runs[OURS])
    if SPREAD in runs:
        part.figures["throughput_vs_bare_2x1_c8"] = round(ours / throughput(runs[SPREAD]), 3)
    against: dict[str, float] = {}
    for name in (peers.SERVER, peers.CLI):
        if errors := sum(run.errors for run in runs.get(name, ())):
            part.notes.append(f"{name} had {errors} errors, so ours is not compared with it")
        elif name in runs:
            against[name] = round(ours / throughput(runs[name]), 3)
            part.figures[f"throughput_vs_{name.replace('-', '_')}_c8"] = against[name]
    if len(against) == len({peers.SERVER, peers.CLI}):
        part.figures["throughput_vs_servers_c8"] = min(against.values())


def long(bench: Bench) -> Part:
    """Measure recordings of a minute and of ten, one at a time."""
    part, plan = Part(), bench.plan
    minute = recording(bench.clips, bench.folder / "minute.flac", min(60.0, plan.long_seconds))
    file = recording(bench.clips, bench.folder / "long.flac", plan.long_seconds)
    with bench.sides(SEQUENTIAL, BATCHED) as sides:
        found = {
            cell: _one_file(bench, part, sides, cell, file) for cell, file in ((CELL_MINUTE, minute), (CELL_LONG, file))
        }
    runs = found[CELL_LONG]
    check_beside(part, CELL_MINUTE, found[CELL_MINUTE], SEQUENTIAL)
    check(part, CELL_LONG, runs)
    part.samples = {name: [round(run.seconds, 3) for run in found] for name, found in runs.items()}
    if SEQUENTIAL in runs:
        part.figures["long_file_vs_bare_speedup"] = speedup(runs, SEQUENTIAL)
        part.figures["long_file_vs_bare_batched_speedup"] = speedup(runs, BATCHED)
    _compare_long_words(part, runs, quick=plan.quick)
    if not plan.quick and plan.model is not None:
        for ways in peers.variants(plan.model, plan.threads).values():
            for way in ways.values():
                _once(bench, part, way, CELL_LONG, [file], clients=1)
    return part


def _one_file(bench: Bench, part: Part, sides: Sequence[Side], cell: str, clip: Clip) -> Runs:
    runs = bench.measure(cell, sides, [clip], clients=1, rounds=bench.plan.long_rounds)
    for side in sides:
        bench.tell(part, cell, side, runs[side.name], clients=1)
    return runs


def _compare_long_words(part: Part, runs: Runs, *, quick: bool) -> None:
    found = check_points(part, CELL_LONG, runs, SEQUENTIAL, limit=LONG_WER_LIMIT)
    if found and not quick:
        part.figures["long_file_wer_delta_points"] = found[0]
