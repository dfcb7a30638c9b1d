"""An engine whose library is not installed says how to get it; the rest of the project does without."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr import engine_factory as asr_engines
from asr.diarization import engine_factory as diarizers
from core import engines
from core.engine_loading import EngineConfig, load_engine
from core.engines import Engine, EngineContext
from core.errors import ConfigurationError
from core.registry import EngineRegistry
from tts import engine_factory as tts_engines

ROOT = Path(__file__).resolve().parents[2]
REGISTRIES: dict[str, EngineRegistry[Any]] = {
    "asr": asr_engines.registry(),
    "diarization": diarizers.registry(),
    "tts": tts_engines.registry(),
}
TABLES = {"asr": asr_engines.TABLE, "diarization": diarizers.TABLE, "tts": tts_engines.TABLE}
BASE = {"onnxruntime", "faster_whisper", "ctranslate2", "phonemizer", "espeakng_loader"}
"""Libraries of the base install that engines with an extra need besides."""
IMPORTS = """\
import importlib, json, sys
blocked, wanted = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))  # importing any of them is an ImportError now
import voice_stack
for target in wanted:
    module, _, name = target.partition(":")
    getattr(importlib.import_module(module), name)
"""


def all_engines() -> list[Any]:
    return [pytest.param(kind, name, id=f"{kind}-{name}") for kind, table in TABLES.items() for name in table]


every_engine = pytest.mark.parametrize(("kind", "name"), all_engines())


@pytest.fixture
def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library of any engine can be found, whatever this environment has."""
    monkeypatch.setattr(engines, "find_spec", lambda _: None)


def engine(kind: str, name: str) -> type[Engine]:
    found: type[Engine] = REGISTRIES[kind].get(name)
    return found


def test_classes_can_be_imported_without_the_libraries_of_any_extra() -> None:
    found = [engine(kind, name) for kind, table in TABLES.items() for name in table]
    libraries = {library.partition(".")[0] for one in found if one.extra for library in one.requires} - BASE
    wanted = [target for table in TABLES.values() for target in table.values()]
    command = [sys.executable, "-c", IMPORTS, json.dumps([sorted(libraries), wanted])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@every_engine
@pytest.mark.usefixtures("nothing_installed")
def test_the_error_names_the_extra_that_is_missing(kind: str, name: str) -> None:
    found = engine(kind, name)
    assert found.missing() == found.requires
    if not found.requires:
        found.check_requirements()
        return
    how = f"pip install 'voice-stack[{found.extra}]'" if found.extra else f"pip install {' '.join(found.requires)}"
    with pytest.raises(ConfigurationError) as made:
        found(EngineContext())
    with pytest.raises(ConfigurationError) as loaded:
        load_engine(REGISTRIES[kind], EngineConfig(engine=name))
    for caught in (made, loaded):
        assert how in caught.value.message
        assert found.requires[0] in caught.value.message


@every_engine
def test_its_extra_brings_something(kind: str, name: str, extras: dict[str, list[str]]) -> None:
    if (extra := engine(kind, name).extra) is not None:
        assert extras[extra], f"the extra {extra} installs nothing"


def test_no_extra_is_a_name_alone(extras: dict[str, list[str]]) -> None:
    assert [name for name, requirements in extras.items() if not requirements] == []
