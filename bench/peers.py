"""Other programs as sides of `make bench-asr`: each as it is shipped, with the options of its own that might suit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from bench import environments, processes
from bench.asr_sides import BATCH_SIZE, BEAM, COMPUTE_TYPE, Served
from bench.children import ended
from bench.plan import LANGUAGE
from bench.sides import READINGS_PER_SECOND, Heard, Run, Side
from bench.speech import Clip

SERVER, CLI = "faster-whisper-server", "whisper-ctranslate2"
Variant = Callable[[], AbstractContextManager[Side]]
START_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 0.01
_LOG_TAIL = 500


def variants(model: Path, threads: int) -> dict[str, dict[str, Variant]]:
    """Return the ways to run each program that is installed, by its name and by what it is told.

    Every way has the same `threads` in total.
    """
    found: dict[str, dict[str, Variant]] = {}
    if command := environments.program(SERVER):
        ways: dict[str, dict[str, int]] = {
            f"1 process, cpu_threads={threads}": {"workers": 1, "cpu_threads": threads},
            f"--workers {threads}, cpu_threads=1": {"workers": threads, "cpu_threads": 1},
            f"1 process, cpu_threads={threads}, batch_size={BATCH_SIZE}": {
                "workers": 1,
                "cpu_threads": threads,
                "batch_size": BATCH_SIZE,
            },
        }
        found[SERVER] = {told: partial(_server, command, model, told, **way) for told, way in ways.items()}
    if command := environments.program(CLI):
        options = (f"--threads {threads}", "--threads 1", f"--threads {threads} --batched True")
        found[CLI] = {told: partial(_cli, command, model, told) for told in options}
    return found


def versions() -> dict[str, dict[str, str]]:
    """Return what each program that is installed is made of."""
    packages = ("faster-whisper", "ctranslate2", "onnxruntime", "numpy")
    return {name: found for name in (SERVER, CLI) if (found := environments.versions(name, name, *packages))}


@contextmanager
def _server(
    command: str, model: Path, told: str, *, workers: int, cpu_threads: int, batch_size: int = 1
) -> Iterator[Served]:
    config = {
        "name": "whisper-1",  # what it takes a request without a model for
        "path": str(model),
        "batch_size": batch_size,
        "model_options": {"device": "cpu", "compute_type": COMPUTE_TYPE, "cpu_threads": cpu_threads},
        "transcribe_options": {"beam_size": BEAM, "language": LANGUAGE},
    }
    with ExitStack() as stack, socket.socket() as taken:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-peer-"))
        written = Path(folder) / "models.yaml"
        written.write_text(json.dumps({"models": [config]}), encoding="utf-8")  # JSON is YAML
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        listening = ("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers))
        log = stack.enter_context((Path(folder) / "log").open("w+", encoding="utf-8"))
        process = subprocess.Popen(
            [command, "--config", str(written), *listening],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=_offline(),
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        side = Served(SERVER, process.pid, told, health=(url, "/health"), url=url)
        with ended(process):
            _wait_for(process, side, Path(log.name))
            with side.client:
                yield side


def _wait_for(process: subprocess.Popen[bytes], side: Served, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{side.url}/health", trust_env=False).is_success:
                return
        time.sleep(0.2)
    raise RuntimeError(f"{side.name} did not start: {log.read_text(encoding='utf-8')[-_LOG_TAIL:]}")


def _offline() -> Mapping[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1"}


@contextmanager
def _cli(command: str, model: Path, told: str) -> Iterator[CommandLine]:
    yield CommandLine(command, model, told)


@dataclass
class CommandLine(Side):
    """A command that is given all files at once and writes a text beside each; it has no clients.

    Its start and the loading of the model are not counted: the clock runs from the end of a first file that is not
    counted either.
    """

    command: str
    model: Path
    options: str
    name: str = CLI

    def run(self, clips: Sequence[Clip], *, concurrency: int) -> Run:  # noqa: ARG002 - one file at a time is all it does
        """Transcribe the clips in one process."""
        if len({clip.path.stem for clip in clips}) < len(clips):
            raise ValueError("each file can be given once only")
        with tempfile.TemporaryDirectory(prefix="bench-peer-") as name:
            folder = Path(name)
            first = shutil.copy(clips[0].path, folder / f"uncounted{clips[0].path.suffix}")
            process = subprocess.Popen(
                [*self._words(folder), str(first), *(str(clip.path) for clip in clips)],
                cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_offline(),
            )  # fmt: skip
            try:
                with processes.using(process.pid, readings_per_second=READINGS_PER_SECOND) as usage:
                    _wait_until_written(process, folder / "uncounted.txt")
                    before = processes.cpu_seconds(process.pid)
                    _, status, used = os.wait4(process.pid, 0)
                    process.returncode = os.waitstatus_to_exitcode(status)
            finally:
                process.kill()
                process.wait()
            heard = tuple(_heard(clips, folder))
        return Run(heard, sum(one.seconds for one in heard), used.ru_utime + used.ru_stime - before, usage.peak_rss)

    def _words(self, folder: Path) -> list[str]:
        shared = {
            "--model_directory": str(self.model),
            "--device": "cpu",
            "--compute_type": COMPUTE_TYPE,
            "--beam_size": str(BEAM),
            "--language": LANGUAGE,
            "--output_dir": str(folder),
            "--output_format": "txt",
            "--verbose": "False",
        }
        return [self.command, *(word for pair in shared.items() for word in pair), *self.options.split()]


def _wait_until_written(process: subprocess.Popen[bytes], text: Path) -> None:
    while not text.is_file():
        if process.poll() is not None:
            raise RuntimeError(f"{CLI} ended with status {process.returncode} before it had transcribed a file")
        time.sleep(_LOOK_AGAIN_SECONDS)


def _heard(clips: Sequence[Clip], folder: Path) -> Iterator[Heard]:
    """Yield what the command wrote; a clip took from the text before its own to its own."""
    before = (folder / "uncounted.txt").stat().st_mtime_ns
    for clip in clips:
        text = folder / f"{clip.path.stem}.txt"
        if not text.is_file():
            yield Heard(clip, 0.0, None)
            continue
        written = text.stat().st_mtime_ns
        yield Heard(clip, (written - before) / 1e9, " ".join(text.read_text(encoding="utf-8").split()))
        before = written
