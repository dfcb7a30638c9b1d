"""Making media with ffmpeg, and looking at the children of this process."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from utils.audio.decode import Limits, MediaError, decode
from utils.audio.ffmpeg import executable

LIMITS = Limits(timeout=60)
TONE = "sine=frequency=440:sample_rate=48000:duration={seconds}"


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """uvicorn runs on uvloop where that is installed, the command line on asyncio's own loop."""
    backend: tuple[str, dict[str, Any]] = request.param
    if backend[1]["use_uvloop"]:
        pytest.importorskip("uvloop")
    return backend


def _run(*arguments: str | Path) -> None:
    command = [executable(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@pytest.fixture
def run_ffmpeg() -> Callable[..., None]:
    """A function that runs ffmpeg with the given arguments and raises CalledProcessError when it fails."""
    return _run


@pytest.fixture
def make_tone(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a 440 Hz tone into a new file: name, seconds, then ffmpeg's output options."""

    def make(name: str, seconds: float, *options: str) -> Path:
        path = tmp_path / name
        _run("-f", "lavfi", "-i", TONE.format(seconds=seconds), *options, path)
        return path

    return make


@pytest.fixture(scope="session")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten hours of silence in 60 kB of FLAC."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.flac"
    _run("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "36000", "-c:a", "flac", "-frame_size", "65535", path)
    return path


def _children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:
            continue
        if int(fields.split()[1]) == os.getpid() and "ffmpeg" in name:
            found.append(int(stat.parent.name))
    return found


@pytest.fixture
def children() -> Callable[[], list[int]]:
    """A function that returns the process ids of the ffmpeg children of this process, zombies included."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    return _children


@pytest.fixture
def first_child(children: Callable[[], list[int]]) -> Callable[..., Awaitable[int]]:
    """A function that waits for an ffmpeg child, other than those given, and returns its process id."""

    async def wait(*known: int) -> int:
        async with asyncio.timeout(20):
            while not (found := [pid for pid in children() if pid not in known]):
                await asyncio.sleep(0.005)
        return found[0]

    return wait


@pytest.fixture
def no_child_left() -> Iterator[None]:
    """Fails a test that leaves an ffmpeg child behind."""
    yield
    assert _children() == []


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where to decode to."""
    return tmp_path / "target.pcm"


@pytest.fixture
def refused(target: Path) -> Callable[..., Awaitable[str]]:
    """A function that decodes, and returns the reason of the refusal having checked that it left no trace."""

    async def reason(source: Path, limits: Limits = LIMITS, **options: int) -> str:
        with pytest.raises(MediaError) as caught:
            await decode(source, target, limits=limits, **options)
        assert not target.exists()
        assert not target.is_symlink()
        assert "/" not in str(caught.value)
        assert source.name not in str(caught.value)
        return caught.value.reason

    return reason
