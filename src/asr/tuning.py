"""How many decoders with how many threads transcribe most on this machine: the candidates, the measurement, the choice.

What is measured is the worker process of the service itself, which decodes windows of ordinary speech's length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version

from asr.engine import MEASURED_SECONDS
from asr.settings import AsrSettings
from core import devices
from core.engines import Engine, Runtime
from core.errors import InternalError
from core.model_entry import ModelRef
from core.process import WorkerSpec
from core.tuning import Conditions, Setup, Tuning
from core.workers import Worker

TIE = 0.95
"""Throughputs above this share of the best one are as good: the quicker answer to one request decides."""
TRIALS = 3
"""How often each is measured; the best counts, for what else the machine does can only make it slower."""
TRIAL_SECONDS = 2.0
"""Seconds that a trial lasts, as far as that takes no more than MOST_ROUNDS windows for each decoder."""
LEAST_ROUNDS, MOST_ROUNDS = 2, 10
GPU_DECODERS, GPU_BATCHES = (1, 2), (8, 16, 32)
_PACKAGES: dict[Runtime, tuple[str, ...]] = {
    "none": ("voice-stack",),
    "ctranslate2": ("ctranslate2",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
    "torch": ("torch",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A setup, the seconds of audio it transcribes in a second, and the seconds one window takes when it is alone."""

    setup: Setup
    throughput: float
    latency: float


class Tuned:
    """The setups that were found best for a service's models, where its settings leave that open."""

    def __init__(self, settings: AsrSettings) -> None:
        self._settings = settings
        self._tuning = Tuning(settings.places.state)
        self._found: dict[str, Setup | None] = {}

    def setup(self, model: ModelRef, engine: type[Engine]) -> Setup | None:
        """Return what was found best for a model; it stays the same as long as the service runs."""
        if self._settings.workers or self._settings.threads:
            return None
        if model.id not in self._found:
            known = self._tuning.knows(model.id)
            found = self._tuning.find(conditions(self._settings, model, engine)) if known else None
            self._found[model.id] = found
        return self._found[model.id]


def conditions(settings: AsrSettings, model: ModelRef, engine: type[Engine]) -> Conditions:
    """Return what a setup of this model depends on."""
    found = devices.hardware()
    best = next((device for device in devices.PREFERENCE if found[device]), "cpu")
    return Conditions(
        model=model.id,
        device=f"auto ({best})" if settings.device == "auto" else settings.device,
        compute_type=settings.compute_type,
        cores=devices.usable_cores(),
        library=_library(engine.runtime),
    )


def candidates(device: str, cores: int, *, batches: bool) -> list[Setup]:
    """Return the setups to try; `batches`: the engine can be told how many windows a call takes."""
    if device != "cpu":
        sizes = GPU_BATCHES if batches else (0,)
        return [Setup(device=device, workers=workers, batch_size=size) for workers in GPU_DECODERS for size in sizes]
    powers = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    found = [*((workers, 1) for workers in [*powers, cores]), (max(cores // 2, 1), min(2, cores)), (1, cores)]
    return [Setup(device=device, workers=workers, threads=threads) for workers, threads in dict.fromkeys(found)]


def configured(spec: WorkerSpec, setup: Setup) -> WorkerSpec:
    """Return the spec of a worker with this setup."""
    return replace(spec, config={**spec.config, "tuned": asdict(setup)})


def trial(spec: WorkerSpec) -> WorkerSpec:
    """Return the spec of a worker that is measured: on one device, and never unloaded between two measurements."""
    return replace(spec, devices=spec.devices[:1], idle_unload=-1.0)


async def device_of(spec: WorkerSpec) -> str:
    """Return the device that the engine chooses: cpu, cuda, rocm or mps. Raises what the load raises."""
    worker = Worker(spec)
    try:
        await worker.load()
        return str(worker.facts["device"])
    finally:
        await worker.close()


async def measure(spec: WorkerSpec, setup: Setup) -> Measured:
    """Start a worker with this setup and return how fast it is.

    Raises NotSupported for an engine with nothing to measure, and what the load raises.
    """
    worker = Worker(configured(spec, setup))
    try:
        await worker.load()
        await _seconds(worker, 1)  # the first one allocates
        latency = min([await _seconds(worker, 1) for _ in range(TRIALS)])
        at_once = int(worker.facts.get("slots", 1)) * int(worker.facts.get("batch_size", 1))
        windows = at_once * min(max(math.ceil(TRIAL_SECONDS / latency), LEAST_ROUNDS), MOST_ROUNDS)
        taken = min([await _seconds(worker, windows) for _ in range(TRIALS)])
        return Measured(setup=setup, throughput=windows * MEASURED_SECONDS / taken, latency=latency)
    finally:
        await worker.close()


def best(found: Sequence[Measured]) -> Measured:
    """Return the one with the best throughput; of those as good as that, the one with the least latency."""
    most = max(each.throughput for each in found)
    return min((each for each in found if each.throughput >= TIE * most), key=lambda each: each.latency)


async def _seconds(worker: Worker, windows: int) -> float:
    """Return the seconds that so many windows take, all given to the worker at once."""
    async with worker.call("measure", {"windows": windows}) as call:
        async for event in call:
            return max(float(event.data["seconds"]), 1e-6)
    raise InternalError("the worker measured nothing")


def _library(runtime: Runtime) -> str:
    for package in _PACKAGES[runtime]:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    return runtime
