"""Speech side by side with the bare libraries and fastkokoro: `make bench-tts`; bench/README.md says what is compared.

Environment: QUICK=1 for the figures alone, CHARACTERS=25,110 for some lengths only.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import Progress

from bench import environments, results, services
from bench.machine import describe
from bench.plan import Plan
from bench.samples import SETTLE_SECONDS, interleave
from bench.tables import shown
from bench.tts_cells import (
    ADAPTIVE,
    CREATE,
    KOKORO,
    KOKORO_ONNX,
    MP3,
    PIPER,
    PIPER_TTS,
    SERVICE,
    Cell,
    details,
    figures,
    notes,
)
from bench.tts_check import failures, understood
from bench.tts_plan import Part, chosen, planned
from bench.tts_sides import FASTKOKORO, Speak, Spoken, bare, fastkokoro, over_http, write_voices
from bench.tts_texts import Supply
from core.catalogue import Catalogue
from core.settings import Places

VOICE = "af_heart"
MODELS = {KOKORO: "kokoro", PIPER: "piper-en_US-joe-medium"}
PEER_PACKAGES = ("fastkokoro", "onnxruntime", "numpy", "numba")
AS_SHIPPED: Mapping[str, str] = {}
ADAPTIVELY = {"STREAM_STRATEGY": "adaptive"}
"""fastkokoro's own way to a first byte sooner: the first piece is 12 characters or 4 words, later ones longer."""
SECONDS_PER_ANSWER = 900.0
WIDTH = 170
"""Columns of the table where there is no terminal."""


@contextmanager
def served(settings: Mapping[str, str], client: httpx.Client, voice: Mapping[str, str]) -> Iterator[dict[str, Speak]]:
    """Run our TTS service, which must speak every text anew, and yield its sides."""
    with services.running("tts", {**settings, "TTS_UTTERANCE_CACHE_MB": "0"}) as service:
        yield {
            SERVICE: over_http(client, service.url, {**voice, "response_format": "pcm"}),
            MP3: over_http(client, service.url, {**voice, "response_format": "mp3"}),
        }


@contextmanager
def kokoro_sides(plan: Plan, client: httpx.Client, folder: Path, wanted: set[str]) -> Iterator[dict[str, Speak]]:
    """Load Kokoro on every wanted side, with the same weights, voice and threads."""
    path = _folder(KOKORO)
    model, voices = path / "model.onnx", write_voices(path / "voices", VOICE, folder / "voices.npz")
    config = {"library": KOKORO_ONNX, "model": str(model), "voices": str(voices), "voice": VOICE}
    settings = plan.service("tts") | {"TTS_MODEL": MODELS[KOKORO]}
    body = {"model": "kokoro", "voice": VOICE, "response_format": "pcm", "stream": True}
    with ExitStack() as stack:
        sides = stack.enter_context(served(settings, client, {"voice": VOICE}))
        if {KOKORO_ONNX, CREATE} & wanted:
            calling = stack.enter_context(bare({**config, "threads": plan.threads}))
            sides |= {KOKORO_ONNX: calling("create_stream"), CREATE: calling("create")}
        for name, told in ((FASTKOKORO, AS_SHIPPED), (ADAPTIVE, ADAPTIVELY)):
            if name in wanted and environments.program(FASTKOKORO):
                url = stack.enter_context(fastkokoro(model, voices, threads=plan.threads, settings=told))
                sides[name] = over_http(client, url, body)
        yield sides


@contextmanager
def piper_sides(plan: Plan, client: httpx.Client, folder: Path, wanted: set[str]) -> Iterator[dict[str, Speak]]:  # noqa: ARG001 - as the other
    """Load Piper on both sides, with the same weights and threads."""
    model = next(_folder(PIPER).glob("*.onnx"))
    config = {"library": PIPER_TTS, "model": str(model), "threads": plan.threads}
    with (
        served(plan.service("tts") | {"TTS_MODEL": MODELS[PIPER]}, client, {}) as sides,
        bare(config) as calling,
    ):
        yield {**sides, PIPER_TTS: calling("synthesize")}


def _folder(engine: str) -> Path:
    """Return the folder of an installed model; ModelNotFound says how to get it."""
    catalogue = Catalogue.load(Places().cache)
    path = catalogue.require(catalogue.resolve(MODELS[engine])).path
    assert path is not None  # noqa: S101 - what is installed has a folder
    return path


def measure(engine: str, part: Part, sides: Mapping[str, Speak], supply: Supply, progress: Progress) -> list[Cell]:
    """Measure those sides of a part that there are; all speak the same texts, which nobody has spoken before."""
    texts = supply.take(part.length, clients=part.clients, rounds=part.warm_up + part.rounds)
    calls = {name: partial(_next_round, sides[name], iter(texts)) for name in part.sides if name in sides}
    task = progress.add_task(f"{engine}, {part.length.name}, {part.clients} at once", total=len(calls) * len(texts))
    kept = interleave(
        calls, rounds=part.rounds, warm_up=part.warm_up, tick=lambda: progress.advance(task), settle=SETTLE_SECONDS
    )
    return [Cell(engine, name, part.length, rounds) for name, rounds in kept.items()]


def _next_round(speak: Speak, rounds: Iterator[tuple[str, ...]]) -> list[Spoken]:
    return speak(next(rounds))


def main() -> int:
    """Measure, print the tables and write bench/results/latest/tts.json; 1 when the words suffer."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    machine, plan = describe(), Plan.from_environment()
    cells: list[Cell] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-tts-") as folder,
        httpx.Client(timeout=SECONDS_PER_ANSWER, trust_env=False) as client,
        Progress(console=console) as progress,
    ):
        for engine, opened in ((KOKORO, kokoro_sides), (PIPER, piper_sides)):
            todo, supply = planned(engine), Supply()
            with opened(plan, client, Path(folder), {side for part in todo for side in part.sides}) as sides:
                for part in todo:
                    cells += measure(engine, part, sides, supply, progress)
        cells = understood(cells, plan, client)
    found = [*(["quick run: few rounds, and not every cell"] if results.is_quick() else []), *notes(cells)]
    if environments.program(FASTKOKORO) is None:
        found.append("fastkokoro was not measured: it is not installed (make bench-env)")
    if not machine.idle:
        found.append(f"the machine was busy before the start (load {machine.load})")
    result = results.Result(
        measured_at=results.now(),
        quick=results.is_quick() or chosen() is not None,
        machine=machine,
        settings={"threads": plan.threads, "device": plan.device, **{f"{key} model": MODELS[key] for key in MODELS}},
        details=details(cells),
        samples={cell.name: tuple(round(spoken.first_byte_ms, 1) for spoken in cell.answers) for cell in cells},
        unit="ms until the first byte",
        tables={"cells": tuple(cell.row() for cell in cells)},
        peers={FASTKOKORO: peer} if (peer := environments.versions(FASTKOKORO, *PEER_PACKAGES)) else {},
        notes=tuple(found),
        failures=tuple(failures(cells)),
        **figures(cells),
    )
    console.print(shown("cells", [cell.row() for cell in cells]))
    results.publish("tts", result, console)
    return int(bool(result.failures))


if __name__ == "__main__":
    sys.exit(main())
