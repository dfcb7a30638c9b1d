"""What batches are worth: windows per call of CTranslate2, and clients of the service: `python -m bench.gpu`.

Environment: BENCH_DEVICE=cuda; on a CPU it is the same in a tiny form, whose figures mean nothing. BENCH_MODEL names
another model than whisper-base (on a CPU whisper-tiny.en), ROUNDS=1 takes less time.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import asr_sides, audio, results, speech
from bench.children import asked
from bench.machine import describe
from bench.plan import LANGUAGE, Plan
from bench.results import Row
from bench.samples import rotated
from bench.speech import Clip
from bench.tables import shown
from bench.words import WordErrors, count
from core.catalogue import Catalogue
from core.settings import Places
from utils.text.wer import edits, words

ROOT = Path(__file__).resolve().parent.parent
MOST_EDITS, MOST_PERCENT = 4, 1.0
"""So many more wrong words than one by one, or so many percent of the words, and the text has become worse."""
Call = Callable[[str, Sequence[Clip], int], tuple[float, list[str]]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The batches and numbers of clients, how many clips each of them gets at least, and the rounds."""

    steps: tuple[int, ...]
    clips: int
    rounds: int

    @classmethod
    def of(cls, device: str) -> Sizes:
        """Return what a device is measured with: a CPU gains nothing by batches, and is here for the program's test."""
        rounds = int(os.environ.get("ROUNDS") or (1 if device == "cpu" or results.is_quick() else 3))
        return cls((1, 2), 2, rounds) if device == "cpu" else cls((1, 2, 4, 8, 16, 32, 64), 64, rounds)

    def given(self, step: int) -> int:
        """Return how many clips a step gets: at least two for each place."""
        return max(self.clips, 2 * step)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one step gave: seconds of audio per second, round by round, and what was heard in all rounds."""

    throughput: tuple[float, ...]
    clips: tuple[Clip, ...]
    texts: tuple[str, ...]

    @property
    def median(self) -> float:
        """Seconds of audio per second."""
        return statistics.median(self.throughput)

    @property
    def errors(self) -> WordErrors:
        """The words that are wrong; those of clips whose words are not known do not count."""
        known = [(clip.text, text) for clip, text in zip(self.clips, self.texts, strict=True) if clip.text]
        said, heard = [one for one, _ in known], [other for _, other in known]
        wrong = sum(edits(words(one), words(other)) for one, other in known)
        return count(said, heard) or WordErrors(wrong, sum(len(words(one)) for one in said))


@contextmanager
def child(config: Mapping[str, Any]) -> Iterator[Call]:
    """Load the model in a process of its own and yield the function that asks it."""
    with asked("bench.gpu_child", config, what="the model") as ask:

        def call(name: str, clips: Sequence[Clip], batch: int) -> tuple[float, list[str]]:
            found = ask({"call": name, "paths": [str(clip.path) for clip in clips], "batch": batch})
            return float(found["seconds"]), list(found["texts"])

        yield call


def measure(
    ask: Callable[[int, Sequence[Clip]], tuple[float, list[str]]], clips: Sequence[Clip], sizes: Sizes
) -> dict[int, Measured]:
    """Measure every step in every round, each round beginning with another one, after a round that does not count."""
    runs: dict[int, list[tuple[float, list[str]]]] = {step: [] for step in sizes.steps}
    given = {step: list(itertools.islice(itertools.cycle(clips), sizes.given(step))) for step in sizes.steps}
    for number in range(-1, sizes.rounds):
        for step in rotated(sizes.steps, number):
            # Before anything counts each size is used once: a GPU compiles and reserves memory for it.
            found = ask(step, given[step] if number >= 0 else given[step][:step])
            if number >= 0:
                runs[step].append(found)
    return {
        step: Measured(
            tuple(sum(clip.seconds for clip in given[step]) / seconds for seconds, _ in found),
            tuple(given[step]) * len(found),
            tuple(text for _, texts in found for text in texts),
        )
        for step, found in runs.items()
    }


def serve(plan: Plan, model: str, clips: Sequence[Clip], sizes: Sizes) -> dict[int, Measured]:
    """Measure our service with so many clients. Raises RuntimeError when an answer is an error."""
    settings = {"ASR_MODEL": model, "ASR_DEVICE": plan.device, "ASR_COMPUTE_TYPE": plan.compute_type}
    with asr_sides.ours(settings) as side:

        def ask(clients: int, some: Sequence[Clip]) -> tuple[float, list[str]]:
            run = side.run(some, concurrency=clients)
            if run.errors:
                raise RuntimeError(f"{run.errors} of {len(some)} requests failed with {clients} clients")
            return run.seconds, [one.text or "" for one in run.heard]

        return measure(ask, clips, sizes)


def figures(windows: Mapping[int, Measured], clients: Mapping[int, Measured], bare: Measured) -> dict[str, float]:
    """Return the figures: throughput by step, and how much more than one window at a time or a bare call it is."""
    found = {f"windows_audio_s_per_s_b{step}": one.median for step, one in windows.items()}
    found |= {f"windows_vs_one_b{step}": one.median / windows[1].median for step, one in windows.items()}
    found |= {f"server_audio_s_per_s_c{step}": one.median for step, one in clients.items()}
    found |= {f"server_vs_bare_c{step}": one.median / bare.median for step, one in clients.items()}
    return {key: round(value, 3) for key, value in {**found, "bare_audio_s_per_s": bare.median}.items()}


def failures(what: str, steps: Mapping[int, Measured], reference: Measured) -> list[str]:
    """Return the steps whose text is worse than that of the reference."""
    found = []
    for step, one in steps.items():
        percent, wanted = one.errors.percent, reference.errors.percent
        # Rounds and steps have different numbers of words, so their shares are compared.
        more = (percent - wanted) / 100 * one.errors.words
        if more > MOST_EDITS * max(len(one.throughput), 1) and percent > wanted + MOST_PERCENT:
            found.append(f"{what} {step}: {percent:.1f} % of the words are wrong, {wanted:.1f} % one by one")
    return found


def rows(what: str, steps: Mapping[int, Measured]) -> tuple[Row, ...]:
    """Return a table."""
    return tuple(
        {what: step, "rounds": len(one.throughput), "audio-s/s": round(one.median, 1), "WER %": _wer(one)}
        for step, one in steps.items()
    )


def _wer(one: Measured) -> float | None:
    return round(one.errors.percent, 2) if one.errors.words else None


def _clips(folder: Path, count: int) -> list[Clip]:
    """Return so many files of recorded speech, else of our own TTS service, whose words do not count."""
    try:
        found = speech.between(speech.clips(), 2.0, 28.0)
    except speech.NoSpeech:
        found = [Clip(audio.clip(folder), audio.CLIP_SECONDS, "")]
    return speech.at_least(found, folder, count)


def main() -> int:
    """Measure, print the tables and write bench/results/latest/gpu.json; 1 when batches make the text worse."""
    console = Console()
    machine, plan = describe(), Plan.from_environment()
    sizes = Sizes.of(plan.device)
    name = os.environ.get("BENCH_MODEL") or ("whisper-tiny.en" if plan.device == "cpu" else "whisper-base")
    catalogue = Catalogue.load(Places().cache)
    model = catalogue.require(catalogue.resolve(name))
    config = {
        "model": str(model.path),
        "device": plan.device,
        "compute_type": plan.compute_type,
        "threads": plan.threads,
        "options": {"language": LANGUAGE, "beam_size": asr_sides.BEAM},
    }
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        clips = _clips(Path(folder), sizes.given(sizes.steps[-1]))
        with child(config) as call:
            console.print(f"encode and generate, {', '.join(map(str, sizes.steps))} windows at once")
            windows = measure(lambda batch, some: call("windows", some, batch), clips, sizes)
            console.print("bare calls")
            one = Sizes((1,), sizes.clips, sizes.rounds)
            bare = measure(lambda batch, some: call("transcribe", some, batch), clips, one)[1]
        console.print(f"the service, {', '.join(map(str, sizes.steps))} clients")
        clients = serve(plan, name, clips, sizes)
    tables = {"windows in one call": rows("windows", windows), "clients of the service": rows("clients", clients)}
    tables["bare calls"] = rows("calls at once", {1: bare})
    result = results.Result(
        measured_at=results.now(),
        quick=sizes.rounds < 3 or plan.device == "cpu",
        machine=machine,
        settings={"model": name, "device": plan.device, "compute_type": plan.compute_type, "threads": plan.threads},
        samples={f"{table}, {what}": one.throughput for table, what, one in _series(windows, clients, bare)},
        unit="audio-s/s",
        tables=tables,
        notes=("on a CPU: a test of the program, whose figures mean nothing",) if plan.device == "cpu" else (),
        failures=tuple(failures("windows", windows, windows[1]) + failures("clients", clients, bare)),
        **figures(windows, clients, bare),
    )
    for title, table in tables.items():
        console.print(shown(title, table))
    results.publish("gpu", result, console)
    return int(bool(result.failures))


def _series(
    windows: Mapping[int, Measured], clients: Mapping[int, Measured], bare: Measured
) -> Iterator[tuple[str, int, Measured]]:
    yield from (("windows", step, one) for step, one in windows.items())
    yield from (("clients", step, one) for step, one in clients.items())
    yield "bare calls", 1, bare


if __name__ == "__main__":
    sys.exit(main())
