"""Which setups are tried, which of them is best, and what the service makes of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from asr import tuning
from asr.engine_factory import registry
from asr.engines.fake import FakeAsrEngine, FakeWindowOptions
from asr.service import AsrService
from asr.settings import AsrSettings
from asr.tuning import Measured
from core import devices
from core.engine_loading import EngineConfig, load_engine
from core.engines import Device, Engine
from core.errors import NotSupported
from core.model_entry import ModelRef
from core.process import WorkerSpec
from core.tuning import Setup, Tuning

BEST = Setup(device="cpu", workers=3, threads=2)
FAKE = ModelRef(id="fake", task="automatic-speech-recognition", engine="fake", weightless=True)


def cpu(*pairs: tuple[int, int]) -> list[Setup]:
    return [Setup(device="cpu", workers=workers, threads=threads) for workers, threads in pairs]


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, cpu((1, 1))),
        (2, cpu((1, 1), (2, 1), (1, 2))),
        (4, cpu((1, 1), (2, 1), (4, 1), (2, 2), (1, 4))),
        (6, cpu((1, 1), (2, 1), (4, 1), (6, 1), (3, 2), (1, 6))),
    ],
)
def test_what_is_tried_on_a_cpu(cores: int, expected: list[Setup]) -> None:
    assert tuning.candidates("cpu", cores, batches=True) == expected


def test_what_is_tried_on_a_gpu() -> None:
    found = tuning.candidates("cuda", 16, batches=True)
    assert {(setup.workers, setup.batch_size, setup.threads) for setup in found} == {
        (workers, size, 0) for workers in (1, 2) for size in (8, 16, 32)
    }
    assert tuning.candidates("cuda", 16, batches=False) == [Setup(device="cuda", workers=n) for n in (1, 2)]


def test_the_best_throughput_wins_and_of_equals_the_quicker_one() -> None:
    slow, fast, nearly = (
        Measured(setup=Setup(device="cpu", workers=workers), throughput=throughput, latency=latency)
        for workers, throughput, latency in ((1, 50.0, 0.1), (4, 100.0, 0.9), (2, 96.0, 0.5))
    )
    assert tuning.best([slow, fast, nearly]) is nearly
    assert tuning.best([slow, fast]) is fast


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsrSettings:
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "CACHE", "TMP"):
        monkeypatch.setenv(f"VOICE_STACK_{name}", str(tmp_path / name.lower()))
    return AsrSettings(engine="fake", model="fake", device="cpu")


def config(settings: AsrSettings) -> dict[str, object]:
    return dict(AsrService(settings).spec(FAKE).config)


def keep(settings: AsrSettings, setup: Setup) -> None:
    service = AsrService(settings)
    conditions = tuning.conditions(settings, FAKE, service.host.engine(FAKE))
    Tuning(settings.places.state).save(conditions, setup)


def engine(settings: AsrSettings, device: Device = "cpu") -> Engine:
    """The engine as a worker makes it where it finds this device."""
    found: dict[Device, int] = {"cpu": 1, device: 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "usable", lambda _: found)
        return load_engine(registry(), EngineConfig.model_validate(config(settings)))


def test_a_service_takes_what_was_found_best(settings: AsrSettings) -> None:
    before = engine(settings).context
    assert (before.workers, before.threads) == (0, 0)
    keep(settings, BEST)
    after = engine(settings).context
    assert (after.workers, after.threads) == (3, 2)


def test_what_was_found_best_for_a_cpu_is_not_for_a_gpu(settings: AsrSettings) -> None:
    auto = settings.model_copy(update={"device": "auto"})
    keep(auto, BEST)
    assert engine(auto).context.workers == 3
    assert (engine(auto, "cuda").context.device, engine(auto, "cuda").context.workers) == ("cuda", 0)


@pytest.mark.parametrize("given", [{"workers": 1}, {"threads": 4}])
def test_what_the_operator_says_goes_first(settings: AsrSettings, given: dict[str, int]) -> None:
    keep(settings, BEST)
    found = engine(settings.model_copy(update=given)).context
    assert {"workers": found.workers, "threads": found.threads} == {"workers": 0, "threads": 0} | given


def test_a_batch_size_is_an_option_of_the_engine(settings: AsrSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeAsrEngine, "Options", FakeWindowOptions)
    keep(settings, Setup(device="cpu", workers=1, batch_size=16))
    assert engine(settings).context.options == {"batch_size": 16}
    own = settings.model_copy(update={"engine_options": {"batch_size": "8", "slots": "1"}})
    assert engine(own).context.options == {"batch_size": "8", "slots": "1"}


def test_another_number_of_cores_makes_it_out_of_date(settings: AsrSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(settings, BEST)
    assert config(settings)["tuned"] == asdict(BEST)
    monkeypatch.setattr(devices, "usable_cores", lambda: 77)
    assert "tuned" not in config(settings)


def test_a_gpu_that_was_built_in_makes_auto_out_of_date(settings: AsrSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = settings.model_copy(update={"device": "auto"})
    monkeypatch.setattr(devices, "hardware", lambda: {"cpu": 1, "cuda": 0, "rocm": 0, "mps": 0})
    keep(auto, BEST)
    assert config(auto)["tuned"] == asdict(BEST)
    monkeypatch.setattr(devices, "hardware", lambda: {"cpu": 1, "cuda": 1, "rocm": 0, "mps": 0})
    assert "tuned" not in config(auto)


def test_the_setup_stays_as_long_as_the_service_runs(settings: AsrSettings) -> None:
    service = AsrService(settings)
    before = service.spec(FAKE)
    keep(settings, BEST)
    assert service.spec(FAKE) == before


@pytest.mark.parametrize("runtime", ["none", "ctranslate2", "onnxruntime"])
def test_the_library_is_named_with_its_release(runtime: str, settings: AsrSettings) -> None:
    class Some(Engine):
        def load(self) -> None: ...

    Some.runtime = runtime  # type: ignore[assignment]
    name, release = tuning.conditions(settings, FAKE, Some).library.split()
    assert name
    assert release[0].isdigit()


async def test_an_engine_with_nothing_to_measure_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    spec = WorkerSpec(name="third-party", handler="tune_handlers:Unmeasured", log_level="ERROR")
    assert await tuning.device_of(spec) == "cpu"
    with pytest.raises(NotSupported):
        await tuning.measure(spec, Setup(device="cpu", workers=1))


def test_a_worker_that_is_measured_stays_loaded_and_is_one() -> None:
    spec = tuning.trial(WorkerSpec(name="x", handler="x:X", devices=(1, 2), idle_unload=0.0))
    assert (spec.devices, spec.idle_unload) == ((1,), -1.0)
