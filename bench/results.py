"""The files that benchmarks write and docs/performance.md is made of, and the targets their figures are held to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from bench.machine import Machine

FOLDER = Path(__file__).resolve().parent / "results"
LATEST, REFERENCE = FOLDER / "latest", FOLDER / "reference"
FIRST_BYTE_MARGIN_MS = 20.0
_NUMBERS = re.compile(r"\[([\d\s.,]*)\]")
BARE_FIRST_PIECE = "tts_bare_first_piece_ms"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a benchmark: its key in the file, what it is, its unit, and what it must not exceed.

    `above` names another figure that `limit` is added to.
    """

    key: str
    label: str
    unit: str = ""
    limit: float | None = None
    above: str | None = None

    def limit_in(self, figures: Mapping[str, float]) -> float | None:
        """Return what the figure must not exceed beside these others; None where there is no target."""
        if self.limit is None or self.above is None:
            return self.limit
        return figures[self.above] + self.limit if self.above in figures else None

    def show(self, value: float) -> str:
        """Return the value as text: ratios with three decimals, milliseconds with one, megabytes with none."""
        decimals = {"": 3, "ms": 1}.get(self.unit, 0)
        return f"{value:.{decimals}f} {self.unit}".strip()


OVERHEAD = (
    Figure("asr_overhead_ratio_10s_wav", "ASR service / our engine alone, 10 s WAV", limit=1.02),
    Figure("asr_overhead_ratio_10s_mp3", "ASR service / our engine alone, 10 s MP3", limit=1.05),
    Figure("asr_vs_faster_whisper_10s_wav", "ASR service / faster-whisper's own transcribe(), 10 s WAV"),
    Figure(BARE_FIRST_PIECE, "TTS engine alone, first piece", "ms"),
    Figure("tts_first_byte_ms", "TTS service, first byte (pcm)", "ms", FIRST_BYTE_MARGIN_MS, BARE_FIRST_PIECE),
    Figure("tts_first_byte_mp3_ms", "TTS service, first byte (mp3)", "ms"),
    Figure("livez_p99_ms_under_load", "/livez while both engines work, 99th percentile", "ms", limit=50.0),
)
PEAK, PEAK_MINUTES = "peak_rss_mb_60min", 60.0
MEMORY = (
    Figure("asr_api_rss_mb", "API process, ASR", "MB", limit=120.0),
    Figure("tts_api_rss_mb", "API process, TTS", "MB", limit=120.0),
    Figure("asr_worker_rss_mb", "ASR worker with Whisper base int8, idle", "MB", limit=400.0),
    Figure("tts_worker_rss_mb", "TTS worker with Kokoro, idle", "MB"),
    Figure(PEAK, "highest of all processes during a 60-minute file", "MB", limit=700.0),
)
FIGURES = {"overhead": OVERHEAD, "memory": MEMORY}


class Result(BaseModel):
    """What one benchmark found, in its file: the figures stand beside these fields at the top level.

    `settings` held for every side, `details` are what else was seen, `samples` the raw measurements in `unit`;
    `notes` say what makes the figures worth less.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    measured_at: str
    quick: bool
    machine: Machine
    settings: Mapping[str, str | int]
    details: Mapping[str, float] = {}
    samples: Mapping[str, tuple[float, ...]]
    unit: str
    notes: tuple[str, ...] = ()

    @property
    def figures(self) -> dict[str, float]:
        """The figures by key."""
        return dict(self.model_extra or {})


def is_quick() -> bool:
    """Whether QUICK asks for few rounds: enough to see that everything runs, too few to believe the figures."""
    return os.environ.get("QUICK", "").strip().lower() in {"1", "true", "yes", "on"}


def now() -> str:
    """Return the time for `measured_at`."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(name: str, result: Result, folder: Path = LATEST) -> Path:
    """Write the result of a benchmark and return its path."""
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", result.model_dump_json(indent=1))
    path.write_text(text + "\n", encoding="utf-8")
    return path


def read(path: Path) -> Result:
    """Read a result; pydantic's ValidationError for a file that is none."""
    return Result.model_validate_json(path.read_text(encoding="utf-8"))


def table(name: str, figures: Mapping[str, float]) -> Table:
    """Return the figures of a benchmark beside their targets, for the terminal."""
    shown = Table(title=name, title_justify="left")
    for heading in ("figure", "measured", "target", ""):
        shown.add_column(heading, justify="left" if heading == "figure" else "right")
    for figure in FIGURES[name]:
        if figure.key not in figures:
            continue
        value, limit = figures[figure.key], figure.limit_in(figures)
        verdict = "" if limit is None else "[green]ok[/]" if value <= limit else "[red]missed[/]"
        wanted = "" if limit is None else f"≤ {figure.show(limit)}"
        shown.add_row(figure.label, figure.show(value), wanted, verdict)
    return shown


def publish(name: str, result: Result, console: Console) -> None:
    """Print a result and write its file."""
    console.print(table(name, result.figures))
    for note in result.notes:
        console.print(f"[yellow]note:[/] {note}", soft_wrap=True)
    console.print(f"wrote {write(name, result)}", soft_wrap=True)
