"""The files that benchmarks write and docs/performance.md is made of, and the targets their figures are held to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.machine import Machine

FOLDER = Path(__file__).resolve().parent / "results"
LATEST, REFERENCE = FOLDER / "latest", FOLDER / "reference"
FIRST_BYTE_MARGIN_MS = 20.0
_NUMBERS = re.compile(r"\[([\d\s.,]*)\]")
BARE_FIRST_PIECE = "tts_bare_first_piece_ms"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is held to: at most, or at least, `value`; `shown` is that as text."""

    value: float
    at_least: bool
    shown: str

    def is_met(self, measured: float) -> bool:
        """Whether a measured value is good enough."""
        return measured >= self.value if self.at_least else measured <= self.value


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a benchmark: its key in the file, what it is, its unit, and its target.

    The target is `limit`, which must not be exceeded, or `floor`, which must be reached. `above` names another figure
    that `limit` is added to.
    """

    key: str
    label: str
    unit: str = ""
    limit: float | None = None
    above: str | None = None
    floor: float | None = None

    def target_in(self, figures: Mapping[str, float]) -> Target | None:
        """Return what the figure is held to beside these others; None where there is no target."""
        if self.floor is not None:
            return Target(self.floor, at_least=True, shown=f"≥ {self.show(self.floor)}")
        if self.limit is None or (self.above is not None and self.above not in figures):
            return None
        limit = self.limit + (figures[self.above] if self.above is not None else 0.0)
        return Target(limit, at_least=False, shown=f"≤ {self.show(limit)}")

    def show(self, value: float) -> str:
        """Return the value as text, with as many decimals as its unit deserves."""
        return f"{value:.{_DECIMALS.get(self.unit, 0)}f} {self.unit}".strip()


_DECIMALS = {"": 3, "x": 2, "points": 2, "%": 2, "s": 2, "ms": 1}
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
WER_LIMIT, EDITS_MARGIN, LONG_WER_LIMIT = 0.5, 4, 0.3
ASR = (
    Figure("short_clips_vs_bare_speedup", "clips of 2-12 s one by one, against faster-whisper", "x", floor=2.5),
    Figure("short_clips_wer_delta_points", "word error rate of all clips, above faster-whisper's", "points", WER_LIMIT),
    Figure("short_clips_edits", "wrong words in all clips", "words", EDITS_MARGIN, "short_clips_bare_edits"),
    Figure("short_clips_bare_edits", "wrong words in all clips, faster-whisper", "words"),
    Figure("throughput_vs_servers_c8", "throughput for 8 clients, against the best other program", "x", floor=3.5),
    Figure("throughput_vs_faster_whisper_server_c8", "throughput for 8 clients, against faster-whisper-server", "x"),
    Figure("throughput_vs_whisper_ctranslate2_c8", "throughput for 8 clients, against whisper-ctranslate2", "x"),
    Figure(
        "throughput_vs_bare_2x1_c8", "throughput for 8 clients, against faster-whisper, a worker per core", "x",
        floor=2.0,
    ),
    Figure("long_file_vs_bare_speedup", "a file of 10 minutes, against faster-whisper", "x", floor=1.3),
    Figure("long_file_vs_bare_batched_speedup", "a file of 10 minutes, against faster-whisper's batched pipeline", "x"),
    Figure(
        "long_file_wer_delta_points", "word error rate of that file, above faster-whisper's", "points", LONG_WER_LIMIT
    ),
    Figure("mixed_short_p95_vs_alone", "95th percentile of 2 s clips beside a long file, against alone", "x", 2.5),
    Figure("rss_over_idle_mb_60min", "all processes during a 60-minute file, above idle", "MB", 150.0),
    Figure("livez_p99_ms", "/livez with 16 clients, 99th percentile", "ms", 50.0),
    Figure("load_seconds", "the model's first load", "s"),
    Figure("reload_seconds", "its load after it was unloaded for idleness", "s"),
    Figure("rss_unloaded_mb", "all processes while it is unloaded", "MB"),
)  # fmt: skip
TTS = (
    Figure("kokoro_first_byte_vs_fastkokoro", "Kokoro's first byte / fastkokoro's, 110 characters", limit=0.4),
    Figure("kokoro_first_byte_vs_fastkokoro_adaptive", "the same, fastkokoro told to begin with a few words"),
    Figure("kokoro_first_byte_vs_bare", "Kokoro's first byte / that of kokoro-onnx, 110 characters"),
    Figure("piper_first_byte_ms_over_bare", "Piper's first byte, above the bare library's", "ms", limit=20.0),
    Figure("underruns", "times a player would have run dry", "times", limit=0.0),
)
DIARIZATION = (
    Figure("der_sample", "diarization error rate, a phone call of 30 s", "%", limit=8.0),
    Figure("der_ami_m1", "diarization error rate, four cuts of 30 s out of a meeting", "%", limit=50.0),
    Figure("der_ami_m1_margin", "how far that is below the better of fast and ge2e", "points", floor=0.01),
    Figure("confusion_conv2_noise10dB", "time given to another speaker, conversation with noise at 10 dB", "%", 6.0),
    Figure("speaker_count_errors", "wrong numbers of speakers, three conversations", "files", limit=0.0),
    Figure("monologue_count_errors", "more or fewer than one speaker, five monologues", "files", limit=0.0),
    Figure("nospeech_turns", "turns where nobody speaks", "turns", limit=0.0),
    Figure("rtfx_one_core", "speed of community1 on one core", "x", floor=10.0),
    Figure("rtfx_one_core_fast", "speed of fast on one core", "x"),
    Figure("rtfx_one_core_ge2e", "speed of ge2e on one core", "x"),
    Figure("rss_60min_mb", "highest of community1's process during a 60-minute recording", "MB", limit=700.0),
    Figure("eer_librispeech", "equal error rate of community1's voices, 50 clips of LibriSpeech", "%", limit=1.5),
    Figure("eer_librispeech_ge2e", "equal error rate of ge2e's voices, the same clips", "%"),
    Figure("frr_librispeech", "pairs of one voice that community1 rejects at its default threshold", "%"),
    Figure("far_librispeech", "pairs of two voices that community1 accepts at its default threshold", "%"),
    Figure("known_speakers_correct_pct", "turns of a second and more that get the right name", "%", floor=90.0),
    Figure("both_wall_over_ideal", "transcription with speakers / the ideal of both together", limit=1.25),
)
LOAD = (
    Figure("load_rounds_errors", "wrong answers, four clients load, use and unload models 200 times", "answers", 0.0),
    Figure("load_rounds_growth_mb", "memory that stays afterwards, all models unloaded", "MB", limit=60.0),
    Figure("two_models_gain_asr", "two models transcribing at once, against one after the other", "x", floor=1.5),
    Figure("two_models_gain_tts", "two models speaking at once, against one after the other", "x", floor=1.5),
)
FIGURES: Mapping[str, tuple[Figure, ...]] = {
    "overhead": OVERHEAD,
    "memory": MEMORY,
    "asr": ASR,
    "tts": TTS,
    "diarization": DIARIZATION,
    "load": LOAD,
    "gpu": (),
    "engines": (),
}
"""By the name of the benchmark's file, in the order of the page."""

Row = Mapping[str, str | int | float | None]
"""One row of a table by column; None where a cell has no such figure."""


class Result(BaseModel):
    """What one benchmark found, in its file: the figures stand beside these fields at the top level.

    `settings` held for every side, `details` are what else was seen, `samples` the raw measurements in `unit`, `tables`
    the cells by part, `peers` the versions and options of other programs. `notes` say what makes the figures worth
    less, `failures` what makes them worth nothing.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    measured_at: str
    quick: bool
    machine: Machine
    settings: Mapping[str, str | int]
    details: Mapping[str, float] = {}
    samples: Mapping[str, tuple[float, ...]]
    unit: str
    tables: Mapping[str, tuple[Row, ...]] = {}
    peers: Mapping[str, Mapping[str, str]] = {}
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)  # spelled out for the type checker: figures are given like fields

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


def earlier(name: str, folder: Path) -> Result | None:
    """Return what an earlier run of a benchmark has left; None where there is nothing, or nothing that can be read."""
    try:
        return read(folder / f"{name}.json")
    except (FileNotFoundError, ValidationError):
        return None


def table(name: str, figures: Mapping[str, float]) -> Table:
    """Return the figures of a benchmark beside their targets, for the terminal."""
    shown = Table(title=name, title_justify="left")
    for heading in ("figure", "measured", "target", ""):
        shown.add_column(heading, justify="left" if heading == "figure" else "right")
    for figure in FIGURES[name]:
        if figure.key not in figures:
            continue
        value, target = figures[figure.key], figure.target_in(figures)
        verdict = "" if target is None else "[green]ok[/]" if target.is_met(value) else "[red]missed[/]"
        shown.add_row(figure.label, figure.show(value), "" if target is None else target.shown, verdict)
    return shown


def publish(name: str, result: Result, console: Console) -> None:
    """Print a result and write its file."""
    console.print(table(name, result.figures))
    for note in result.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for failure in result.failures:
        console.print(f"[red]failed:[/] {escape(failure)}", soft_wrap=True)
    console.print(f"wrote {write(name, result)}", soft_wrap=True)
