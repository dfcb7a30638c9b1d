"""The wheel keeps its four generic packages out of site-packages and works beside a distribution called `utils`."""

from __future__ import annotations

import subprocess
import sys
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
FAKE = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, plain_environ: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "-w", str(folder), str(ROOT)], check=True, env=plain_environ
    )
    (found,) = folder.glob("voice_stack-*.whl")
    return found


@pytest.fixture(scope="module")
def decoy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A distribution of somebody else that ships a top-level package `utils`."""
    folder = tmp_path_factory.mktemp("decoy")
    (folder / "utils").mkdir()
    (folder / "utils" / "__init__.py").write_text("WHOSE = 'the decoy'\n")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "decoy"\nversion = "1"\n[tool.hatch.build.targets.wheel]\npackages = ["utils"]\n'
    )
    return folder


@pytest.fixture(scope="module")
def installed(
    wheel: Path,
    decoy: Path,
    fresh_venv: Callable[[Path], Path],
    plain_environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    venv = fresh_venv(tmp_path_factory.mktemp("wheel") / "venv")
    subprocess.run(
        [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--force-reinstall", str(wheel), str(decoy)],
        check=True,
        env=plain_environ,
    )
    return venv


def run(venv: Path, *command: str, env: dict[str, str], cwd: Path) -> str:
    first, *rest = command
    done = subprocess.run(
        [str(venv / "bin" / first), *rest], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_puts_one_folder_into_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"voice_stack"}


def test_the_wheel_carries_what_the_code_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    wanted = {
        f"voice_stack/_bundle/{path.relative_to(source).as_posix()}"
        for package in ("asr", "tts", "core", "utils")
        for path in (source / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted <= names


def test_both_packages_called_utils_can_be_used(installed: Path, plain_environ: dict[str, str], tmp_path: Path) -> None:
    ours = "import voice_stack, utils.audio.pcm as pcm; print(pcm.__file__)"
    theirs = "import utils; print(utils.WHOSE)"
    assert "_bundle" in run(installed, "python", "-c", ours, env=plain_environ, cwd=tmp_path)
    assert run(installed, "python", "-c", theirs, env=plain_environ, cwd=tmp_path) == "the decoy\n"


def test_it_refuses_when_the_other_utils_came_first(
    installed: Path, plain_environ: dict[str, str], tmp_path: Path
) -> None:
    code = "import utils\ntry:\n    import voice_stack\nexcept ImportError as error:\n    print(error)"
    answer = run(installed, "python", "-c", code, env=plain_environ, cwd=tmp_path)
    assert "'utils' was already imported" in answer


def test_it_transcribes(installed: Path, plain_environ: dict[str, str], tmp_path: Path) -> None:
    # A folder called utils in the current folder must not get in the way either.
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").write_text("raise RuntimeError('the wrong utils')\n")
    with wave.open(str(tmp_path / "speech.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"\x10\x27\xf0\xd8" * 16_000)
    env = plain_environ | FAKE
    answer = run(installed, "voice-stack", "transcribe", "--local", "speech.wav", env=env, cwd=tmp_path)
    assert answer.strip()


def test_removing_the_decoy_leaves_ours_alone(
    wheel: Path,
    decoy: Path,
    fresh_venv: Callable[[Path], Path],
    plain_environ: dict[str, str],
    tmp_path: Path,
) -> None:
    venv = fresh_venv(tmp_path / "venv")
    pip = [str(venv / "bin" / "python"), "-m", "pip"]
    for arguments in (["install", "--force-reinstall", str(wheel), str(decoy)], ["uninstall", "-y", "decoy"]):
        subprocess.run([*pip, *arguments], check=True, capture_output=True, env=plain_environ)
    assert run(venv, "voice-stack", "--version", env=plain_environ, cwd=tmp_path).startswith("voice-stack ")
