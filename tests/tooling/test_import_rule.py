"""The import rule of ARCHITECTURE.md, read off the syntax trees."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
OURS = {"asr", "tts", "core", "utils", "voice_stack"}
MAY_IMPORT = {
    "utils": set(),
    "core": {"utils", "voice_stack"},
    "asr": {"core", "utils", "voice_stack"},
    "tts": {"core", "utils", "voice_stack"},
    "voice_stack": OURS,
}
WEB = {"fastapi", "starlette"}
CORE_WEB = ("answers", "auth", "exchange", "heartbeat", "model_control", "schemas", "server")
WEB_MODULES = (*(f"core/{name}.py" for name in CORE_WEB), "asr/app.py", "tts/app.py", "asr/api/", "tts/api/")
# Libraries that bring inference or signal processing with them: seconds of start and hundreds of MB.
HEAVY = {
    "faster_whisper", "ctranslate2", "onnxruntime", "torch", "torchaudio", "av", "kokoro_onnx", "piper", "TTS",
    "scipy", "soxr", "soundfile", "py3langid", "phonemizer", "espeakng_loader", "whisper", "crispasr", "sherpa_onnx",
}  # fmt: skip
LIGHT = {"numpy", "pydantic"}


@dataclass(frozen=True)
class Import:
    """One import: the module it names, what it takes from it, and whether it runs when its own module is imported."""

    where: str
    name: str
    taken: tuple[str, ...]
    at_import: bool

    @property
    def root(self) -> str:
        return self.name.split(".")[0]


def imports(path: Path) -> Iterator[Import]:
    where = path.relative_to(SOURCE).as_posix()
    yield from _walk(ast.parse(path.read_text(encoding="utf-8")), where, at_import=True)


def _walk(node: ast.AST, where: str, *, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(where, alias.name, (), at_import) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{where}:{child.lineno}: imports are absolute"
            yield Import(where, child.module or "", tuple(alias.name for alias in child.names), at_import)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, where, at_import=at_import and not inside)


@pytest.fixture(scope="module")
def found() -> list[Import]:
    return [one for path in sorted(SOURCE.rglob("*.py")) for one in imports(path)]


def test_packages_import_only_what_lies_below_them(found: list[Import]) -> None:
    wrong = [
        f"{one.where} imports {one.name}"
        for one in found
        if one.root in OURS - {package := one.where.split("/")[0]} and one.root not in MAY_IMPORT[package]
    ]
    assert wrong == []


def test_only_the_version_comes_from_the_public_package(found: list[Import]) -> None:
    wrong = [
        f"{one.where} takes {one.taken or one.name} from voice_stack"
        for one in found
        if one.root == "voice_stack" and not one.where.startswith("voice_stack/") and one.taken != ("__version__",)
    ]
    assert wrong == []


def test_web_framework_stays_in_the_web_layer(found: list[Import]) -> None:
    wrong = [
        f"{one.where} imports {one.name}" for one in found if one.root in WEB and not one.where.startswith(WEB_MODULES)
    ]
    assert wrong == []


def test_no_module_imports_an_inference_library_when_it_is_imported(found: list[Import]) -> None:
    assert [f"{one.where} imports {one.name}" for one in found if one.root in HEAVY and one.at_import] == []


def test_engines_import_nothing_but_numpy_and_pydantic_before_load(found: list[Import]) -> None:
    allowed = OURS | LIGHT | set(sys.stdlib_module_names)
    wrong = [
        f"{one.where} imports {one.name}"
        for one in found
        if "/engines/" in one.where and one.at_import and one.root not in allowed
    ]
    assert wrong == []


def test_no_module_hides_one_of_the_standard_library() -> None:
    top = {path.stem for package in ("asr", "tts", "core", "utils") for path in (SOURCE / package).glob("*.py")}
    assert top & {"logging", "types", "http", "queue", "select", "signal", "wave"} == set()


def test_the_walk_sees_what_it_should(tmp_path: Path) -> None:
    module = SOURCE / "core" / "errors.py"
    assert {one.name for one in imports(module)} == {"__future__", "collections.abc", "contextlib", "typing"}
