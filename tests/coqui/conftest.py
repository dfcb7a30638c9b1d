"""Engines that have loaded the tiny, randomly initialised checkpoints of tests/coqui_checkpoints.py.

They make noise. They prove that loading, latents, streaming, cloning, formats and cancellation work, not how any of
it sounds. Outside `make test-extras` (no torch, no Coqui) every test here is skipped.
"""

# ruff: noqa: PLC0415 - torch and Coqui are imported in functions: collecting must work without them

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.engines import EngineContext
from tests.coqui_checkpoints import write_d_vectors, write_glow_tts, write_vits, write_xtts
from tts.engines.coqui import CoquiEngine

HERE = Path(__file__).parent

Load = Callable[..., CoquiEngine]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    absent = find_spec("TTS") is None
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.coqui)
            # The libraries behind Coqui warn about each other; that is not ours to fail on.
            item.add_marker(pytest.mark.filterwarnings("default"))
            if absent:
                item.add_marker(pytest.mark.skip(reason="Coqui (TTS) is not installed here: run make test-extras"))


@pytest.fixture(scope="session")
def xtts_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xtts(tmp_path_factory.mktemp("models") / "tiny-xtts")


@pytest.fixture(scope="session")
def vits_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vits(tmp_path_factory.mktemp("models") / "tiny-vits")


@pytest.fixture(scope="session")
def vits_many_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two languages and three speakers: one id twice but for case, one with the line end of YourTTS's names."""
    folder = tmp_path_factory.mktemp("models") / "tiny-vits-many"
    return write_vits(folder, speakers=("ED\n", "p225", "P225"), languages=("en", "pt-br"))


@pytest.fixture(scope="session")
def d_vectors_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_d_vectors(tmp_path_factory.mktemp("models") / "tiny-your-tts")


@pytest.fixture(scope="session")
def load_engine() -> Iterator[Load]:
    """A function that loads a model folder with the Coqui engine on one thread."""
    loaded: list[CoquiEngine] = []
    # What numba compiles is kept between runs; by itself the engine puts it into its cache folder.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(sys.prefix) / "numba-cache"))

    def load(model: Path, *, cache: Path | None = None, **context: object) -> CoquiEngine:
        settings = {"threads": 1, "model_id": model.name, **context}
        engine = CoquiEngine(EngineContext(model=model, cache=cache, **settings))  # type: ignore[arg-type]
        engine.load()
        loaded.append(engine)
        return engine

    yield load
    for engine in loaded:
        engine.close()


@pytest.fixture(scope="session")
def xtts(xtts_dir: Path, load_engine: Load) -> CoquiEngine:
    return load_engine(xtts_dir)


@pytest.fixture(scope="session")
def vits_many(vits_many_dir: Path, load_engine: Load) -> CoquiEngine:
    return load_engine(vits_many_dir)


@pytest.fixture(scope="session")
def glow_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glow_tts(tmp_path_factory.mktemp("models") / "tiny-glow")


@pytest.fixture
def tokens() -> Iterator[list[None]]:
    """Grows by one with every audio token that XTTS's GPT generates, whoever asks for it."""
    from torch.nn.modules.module import register_module_forward_hook

    generated: list[None] = []

    def count(module: object, *_: object) -> None:
        if type(module).__name__ == "GPT2InferenceModel":
            generated.append(None)

    handle = register_module_forward_hook(count)
    yield generated
    handle.remove()
