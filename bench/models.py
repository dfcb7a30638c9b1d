"""Several models at once: `make bench-load`; bench/README.md says what is measured.

Environment: ROUNDS=20 for fewer rounds, QUICK=1 for ten and the fake engines alone, PAIRS=1 for two models at once and
nothing else (the rounds stay as an earlier run on this machine found them). Exit status 1 when something failed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench import load_rounds, load_uses, results, services
from bench.load_rounds import FAKES, Seen, Use
from bench.machine import describe
from bench.results import Row
from bench.speech import Clip, NoSpeech, at_least, between, clips, recording
from bench.tables import shown
from core.errors import ConfigurationError, VoiceStackError

NAME = "load"
ROUNDS, QUICK_ROUNDS, PAIR_ROUNDS = 200, 10, 5
CLIP_SECONDS, CLIPS = (2.0, 5.0), 24
LONG_SECONDS = {"whisper-base": 60.0, "whisper-tiny.en": 110.0}
"""Recordings that take both models about as long."""
SPEAKERS = ("kokoro", "piper-en_US-joe-medium")
ONE_THREAD: Mapping[services.Name, Mapping[str, str]] = {
    "asr": {"ASR_THREADS": "1", "ASR_WORKERS": "1"},
    "tts": {"TTS_THREADS": "1", "TTS_UTTERANCE_CACHE_MB": "0"},
}


@dataclass(frozen=True, slots=True)
class Side:
    """Models of a service that come and go, and what is asked of them."""

    service: services.Name
    models: Sequence[str]
    use: Use

    @property
    def name(self) -> str:
        """What the side is called in the table."""
        return "fake engine" if set(self.models) <= set(FAKES) else ", ".join(self.models)


def sides(spoken: Sequence[Clip] | None) -> list[Side]:
    """Return the sides; without recordings the fake engines alone."""
    found = [Side("asr", FAKES, load_uses.noise), Side("tts", FAKES, load_uses.says)]
    if spoken is not None:
        found += [Side("asr", tuple(LONG_SECONDS), load_uses.speech(spoken)), Side("tts", SPEAKERS, load_uses.says)]
    return found


@contextmanager
def serving(side: Side, more: Mapping[str, str] | None = None) -> Iterator[services.Service]:
    """Run the service of a side; `more` are further settings."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        settings = load_rounds.settings(side.service, side.models, Path(folder)) | dict(more or {})
        with services.running(side.service, settings) as service:
            yield service


def rounds_row(side: Side, seen: Seen) -> Row:
    """Return the row of a side."""
    answers = ", ".join(f"{step} {status}: {count}" for (step, status), count in sorted(seen.answers.items()))
    return {
        "service": side.service,
        "models": side.name,
        "answers": answers,
        "errors": len(seen.failures),
        "s": round(seen.seconds),
        "MB before": round(seen.before, 1),
        "MB after": round(seen.after, 1),
        "growth MB": round(seen.growth, 1),
    }


def at_once(folder: Path, spoken: Sequence[Clip]) -> tuple[list[Row], dict[str, float]]:
    """Return how two models of each service answer at once: the rows, and the figures."""
    long: dict[str, Use] = {
        model: load_uses.speech([recording(spoken, folder / f"{model}.wav", seconds)])
        for model, seconds in LONG_SECONDS.items()
    }
    texts: dict[str, Use] = dict.fromkeys(SPEAKERS, load_uses.reads)
    rows: list[Row] = []
    figures = {}
    both = (Side("asr", tuple(long), load_uses.noise), Side("tts", SPEAKERS, load_uses.says))
    for side, uses in zip(both, (long, texts), strict=True):
        with serving(side, ONE_THREAD[side.service]) as service:
            pair = load_uses.pair(service, (side.models[0], side.models[1]), uses, rounds=PAIR_ROUNDS)
        figures[f"two_models_gain_{side.service}"] = round(pair.gain, 3)
        first, second = pair.alone
        rows.append(
            {
                "service": side.service,
                "models": side.name,
                "times asked": f"{pair.times[0]} and {pair.times[1]}",
                "first alone s": round(first, 2),
                "second alone s": round(second, 2),
                "both at once s": round(pair.together, 2),
                "gain x": round(pair.gain, 2),
            }
        )
    return rows, figures


def run(rounds: int, console: Console) -> results.Result:
    """Measure everything. Raises NoSpeech unless QUICK is set."""
    machine, quick = describe(), results.is_quick()
    rows: list[Row] = []
    failures: list[str] = []
    growth = 0.0
    tables: dict[str, tuple[Row, ...]] = {}
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-load-") as files:
        whole = None if quick else clips()
        short = None if whole is None else at_least(between(whole, *CLIP_SECONDS), Path(files), CLIPS)
        for side in sides(short):
            with serving(side) as service:
                seen = load_rounds.run(service, side.models, side.use, rounds=rounds)
            rows.append(rounds_row(side, seen))
            failures += [f"{side.service} {side.name}: {told}" for told in seen.told]
            growth = max(growth, seen.growth)
            console.print(shown("rounds", rows[-1:]))
        tables["rounds"] = tuple(rows)
        if whole is not None:
            found, figures = at_once(Path(files), whole)
            tables["at once"] = tuple(found)
            console.print(shown("at once", found))
    figures |= {"load_rounds_errors": float(sum(int(row["errors"] or 0) for row in rows))}
    return results.Result(
        measured_at=results.now(),
        quick=quick or rounds < ROUNDS,
        machine=machine,
        settings={"rounds": rounds, "clients": load_rounds.CLIENTS, "device": "cpu"},
        samples={},
        unit="s",
        tables=tables,
        failures=tuple(failures),
        load_rounds_growth_mb=round(growth, 1),
        **figures,
    )


def pairs_anew(console: Console) -> results.Result:
    """Measure two models at once, and keep the rounds of an earlier run on this machine, with a note that says so.

    Raises NoSpeech, ConfigurationError.
    """
    old, machine = results.earlier(NAME, results.LATEST), describe()
    busy = {"load": 0.0, "commit": None}
    if old is None or old.quick or old.machine.model_copy(update=busy) != machine.model_copy(update=busy):
        raise ConfigurationError("PAIRS=1 needs the result of a whole run on this machine")
    with tempfile.TemporaryDirectory(prefix="bench-load-") as files:
        rows, gains = at_once(Path(files), clips())
    console.print(shown("at once", rows))
    note = f"two models at once: measured at {machine.commit}, the rounds before them at {old.machine.commit}"
    tables = {**old.tables, "at once": tuple(rows)}
    return results.Result(**(old.model_dump() | gains | {"tables": tables, "notes": (note,)}))


def main() -> int:
    """Measure, print the tables, write bench/results/latest/load.json; return 1 when something failed."""
    console = Console(width=None if sys.stdout.isatty() else 170)
    rounds = int(os.environ.get("ROUNDS") or (QUICK_ROUNDS if results.is_quick() else ROUNDS))
    try:
        result = pairs_anew(console) if os.environ.get("PAIRS") else run(rounds, console)
    except (NoSpeech, VoiceStackError, services.NotReady) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 2
    results.publish(NAME, result, console)
    missed = [figure for figure in results.FIGURES[NAME] if _missed(figure, result.figures)]
    return 1 if result.failures or missed else 0


def _missed(figure: results.Figure, figures: Mapping[str, float]) -> bool:
    target = figure.target_in(figures)
    return target is not None and figure.key in figures and not target.is_met(figures[figure.key])


if __name__ == "__main__":
    sys.exit(main())
