"""Memory of every process of the services, idle and while an hour of speech is transcribed: `make bench-memory`.

Environment: MINUTES=10 for a shorter recording (the figure for 60 minutes is then absent), QUICK=1 for two minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console

from bench import audio, processes, results, services
from bench.clients import speaker, transcriber
from bench.machine import describe
from bench.plan import LANGUAGE, Plan

IDLE_SECONDS = 3.0
REPORT_SECONDS = 30.0
WORDS_PER_MINUTE = 60
"""Fewer words than this, half of slow speech, and the recording was not transcribed whole."""


@dataclass(frozen=True, slots=True)
class LongRun:
    """How a long recording was transcribed: seconds it took, words that came out, and the memory meanwhile."""

    seconds: float
    words: int
    watch: processes.Watch


def minutes() -> float:
    """Return the length of the recording."""
    return float(os.environ.get("MINUTES") or (2.0 if results.is_quick() else results.PEAK_MINUTES))


def as_installed(plan: Plan, name: services.Name) -> dict[str, str]:
    """Return the settings of a service that is left to choose its decoders and threads, as most are."""
    return {key: value for key, value in plan.service(name).items() if not key.endswith(("_THREADS", "_WORKERS"))}


def measure_tts(plan: Plan, client: httpx.Client) -> dict[str, float]:
    """Return the memory of the TTS service by role after it has spoken."""
    with services.running("tts", as_installed(plan, "tts")) as service:
        speaker(client, service.url, audio.SENTENCES[0], "mp3")()
        time.sleep(IDLE_SECONDS)
        return processes.now(service.pid)


def measure_idle_asr(service: services.Service, client: httpx.Client, folder: Path) -> dict[str, float]:
    """Return the memory of the ASR service by role after it has transcribed ten seconds."""
    transcriber(client, service.url, audio.clip(folder), language=LANGUAGE)()
    time.sleep(IDLE_SECONDS)
    return processes.now(service.pid)


def transcribe_long(service: services.Service, recording: Path, console: Console) -> LongRun:
    """Send a recording by the command line, which shows its progress on a terminal; elsewhere a line now and then."""
    text = recording.with_suffix(".txt")
    command = (sys.executable, "-P", "-m", "voice_stack", "transcribe", str(recording), "--language", LANGUAGE)
    started = time.monotonic()
    with processes.watching(service.pid) as watch:
        client = subprocess.Popen([*command, "--url", service.url, "-o", str(text)])
        while client.poll() is None:
            try:
                client.wait(timeout=REPORT_SECONDS)
            except subprocess.TimeoutExpired:
                if not console.is_terminal:
                    console.print(f"  {time.monotonic() - started:.0f} s, MB: {_rounded(processes.now(service.pid))}")
    if client.returncode:
        raise RuntimeError("the recording was not transcribed; the reason is above")
    return LongRun(time.monotonic() - started, len(text.read_text(encoding="utf-8").split()), watch)


def _rounded(by_role: dict[str, float]) -> dict[str, int]:
    return {what: round(megabytes) for what, megabytes in by_role.items()}


def main() -> None:
    """Measure, print the table, and write bench/results/latest/memory.json."""
    console = Console()
    machine, plan, length = describe(), Plan.from_environment(), minutes()
    with (
        tempfile.TemporaryDirectory(prefix="bench-memory-") as name,
        httpx.Client(timeout=600.0, trust_env=False) as client,
    ):
        folder = Path(name)
        console.print("idle services")
        tts = measure_tts(plan, client)
        recording = audio.long_recording(folder, length * 60)
        with services.running("asr", as_installed(plan, "asr")) as service:
            asr = measure_idle_asr(service, client, folder)
            console.print(f"transcribing {length:g} minutes of speech, {recording.stat().st_size / 1e6:.0f} MB of FLAC")
            run = transcribe_long(service, recording, console)
    figures = {
        "asr_api_rss_mb": asr["api"],
        "tts_api_rss_mb": tts["api"],
        "asr_worker_rss_mb": asr["worker"],
        "tts_worker_rss_mb": tts["worker"],
    }
    if length >= results.PEAK_MINUTES:
        figures[results.PEAK] = max(run.watch.peaks.values())
    result = results.Result(
        measured_at=results.now(),
        quick=length < results.PEAK_MINUTES,
        machine=machine,
        settings=plan.facts() | {"threads": "automatic"},
        details={"minutes of speech": length, "minutes taken": round(run.seconds / 60, 2), "words": run.words}
        | {f"peak of {what}, MB": round(value, 1) for what, value in run.watch.peaks.items()},
        unit="MB",
        samples={what: tuple(series) for what, series in run.watch.samples.items()},
        notes=tuple(_notes(length, run)),
        **{key: round(value, 1) for key, value in figures.items()},
    )
    results.publish("memory", result, console)


def _notes(length: float, run: LongRun) -> list[str]:
    found = [] if length >= results.PEAK_MINUTES else [f"{length:g} minutes only: peaks {_rounded(run.watch.peaks)} MB"]
    if run.words < WORDS_PER_MINUTE * length:
        found.append(f"only {run.words} words came out of {length:g} minutes")
    return found


if __name__ == "__main__":
    main()
