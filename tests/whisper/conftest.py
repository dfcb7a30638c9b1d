"""Checkpoints of openai-whisper rebuilt from the catalogue's weights, and engines that have loaded them.

They are the real weights of Whisper base and tiny.en in float16. Outside `make test-extras` (no torch, no
openai-whisper) every test here is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.engines.whisper import WhisperEngine
from asr.transcript import Segment, TranscribeOptions
from core.engines import EngineContext
from utils.audio.pcm import Audio
from utils.audio.resample import resample

HERE = Path(__file__).parent
RATE = 16_000

Load = Callable[..., WhisperEngine]
Hear = Callable[..., Audio]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    absent = find_spec("whisper") is None
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.whisper)
            item.add_marker(pytest.mark.e2e)
            # The libraries behind openai-whisper warn about each other; that is not ours to fail on.
            item.add_marker(pytest.mark.filterwarnings("default"))
            if absent:
                item.add_marker(pytest.mark.skip(reason="openai-whisper is not installed here: run make test-extras"))


@pytest.fixture(scope="session")
def checkpoint(model_dir: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a catalogue id to a folder with the same weights as openai-whisper's checkpoint."""
    from scripts.convert_whisper import write_checkpoint  # noqa: PLC0415 - with torch

    made: dict[str, Path] = {}

    def make(model_id: str) -> Path:
        if model_id not in made:
            folder = tmp_path_factory.mktemp(model_id)
            write_checkpoint(model_dir(model_id), folder / f"{model_id.removeprefix('whisper-')}.pt")
            made[model_id] = folder
        return made[model_id]

    return make


@pytest.fixture(scope="session")
def load_engine(checkpoint: Callable[[str], Path]) -> Iterator[Load]:
    """A function that loads a catalogue model, or a folder, with the whisper engine on one thread; options by name."""
    loaded: list[WhisperEngine] = []

    def load(model: str | Path, **options: object) -> WhisperEngine:
        folder = checkpoint(model) if isinstance(model, str) else model
        name = model if isinstance(model, str) else model.name
        engine = WhisperEngine(EngineContext(model=folder, model_id=name, threads=1, options=options))
        engine.load()
        loaded.append(engine)
        return engine

    yield load
    for engine in loaded:
        engine.close()


@pytest.fixture(scope="session")
def base(load_engine: Load) -> WhisperEngine:
    return load_engine("whisper-base")


@pytest.fixture(scope="session")
def hear(speech_data: Path) -> Hear:
    """A function from the name of a recording to its first `seconds`."""

    def read(name: str, *, seconds: float | None = None) -> Audio:
        samples, rate = soundfile.read(speech_data / name, dtype="float32", always_2d=True)
        audio = resample(Audio(samples.mean(axis=1, dtype=np.float32), rate), RATE)
        return audio if seconds is None else Audio(audio.samples[: round(seconds * RATE)], RATE)

    return read


def listen(engine: WhisperEngine, audio: Audio, **options: object) -> list[Segment]:
    return list(engine.transcribe(audio, TranscribeOptions(**options)).segments)  # type: ignore[arg-type]


def text(engine: WhisperEngine, audio: Audio, **options: object) -> str:
    return "".join(segment.text for segment in listen(engine, audio, **options))
