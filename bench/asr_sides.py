"""Our service and bare faster-whisper as sides of `make bench-asr`: same weights, number format, beam and threads."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from asr.transcript import TEMPERATURE_LADDER
from bench import services
from bench.clients import transcriber
from bench.plan import LANGUAGE
from bench.sides import OURS, Resident, Run
from bench.speech import Clip

ROOT = Path(__file__).resolve().parent.parent
BEAM = 5
COMPUTE_TYPE = "int8"
BATCH_SIZE = 8
SECONDS_PER_ANSWER = 3600.0
SEQUENTIAL: Mapping[str, Any] = {
    "language": LANGUAGE,
    "beam_size": BEAM,
    "temperature": list(TEMPERATURE_LADDER),
    "condition_on_previous_text": False,
    "vad_filter": True,
}
"""What `transcribe()` is told, so that it does the same work as our engine does by default."""
WITHOUT_VAD: Mapping[str, Any] = {**SEQUENTIAL, "vad_filter": False}
"""The library's own default, which is faster where nearly everything is speech."""
BATCHED: Mapping[str, Any] = {"language": LANGUAGE, "beam_size": BEAM}


@dataclass
class Served(Resident):
    """A service with OpenAI's route for transcriptions; requests are built once, before they are first timed."""

    url: str = ""
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=SECONDS_PER_ANSWER, trust_env=False))
    requests: dict[Path, Any] = field(default_factory=dict)

    def run(self, clips: Sequence[Clip], *, concurrency: int) -> Run:
        """Transcribe the clips."""
        for clip in clips:
            if clip.path not in self.requests:
                self.requests[clip.path] = transcriber(self.client, self.url, clip.path, language=LANGUAGE)
        return super().run(clips, concurrency=concurrency)

    def transcribe(self, clip: Clip) -> str:
        """Send the request."""
        return str(self.requests[clip.path]().text)


@contextmanager
def ours(settings: Mapping[str, str]) -> Iterator[Served]:
    """Run our ASR service with the given settings, the rest as they are by default."""
    with services.running("asr", settings) as service:
        side = Served(OURS, service.pid, health=(service.url, "/livez"), url=service.url)
        with side.client:
            yield side


@dataclass
class Bare(Resident):
    """faster-whisper's transcribe() in a process of its own. Made by `bare`."""

    process: subprocess.Popen[str] | None = None
    waiting: dict[int, Future[str]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def transcribe(self, clip: Clip) -> str:
        """Have the file transcribed as soon as a thread of the process is free."""
        assert self.process is not None  # noqa: S101 - set by `bare`
        assert self.process.stdin is not None  # noqa: S101 - a pipe
        with self.lock:
            number, answer = next(self.numbers), Future[str]()
            self.waiting[number] = answer
            print(json.dumps({"id": number, "path": str(clip.path)}), file=self.process.stdin, flush=True)
        return answer.result(SECONDS_PER_ANSWER)

    def listen(self) -> None:
        """Hand out the answers of the process until it ends."""
        assert self.process is not None  # noqa: S101 - set by `bare`
        for line in self.process.stdout or ():
            found = json.loads(line)
            answer = self.waiting.pop(found["id"])
            if "error" in found:
                answer.set_exception(RuntimeError(found["error"]))
            else:
                answer.set_result(found["text"])
        for answer in self.waiting.values():
            answer.set_exception(RuntimeError("the process of faster-whisper ended"))


@contextmanager
def bare(
    name: str, model: Path, *, workers: int, threads: int, options: Mapping[str, Any] = SEQUENTIAL
) -> Iterator[Bare]:
    """Load faster-whisper with so many workers of so many threads; as many calls run at once as it has workers."""
    batch_size = BATCH_SIZE if options is BATCHED else 0
    config = {
        "model": str(model),
        "compute_type": COMPUTE_TYPE,
        "workers": workers,
        "threads": threads,
        "batch_size": batch_size,
        "options": dict(options),
    }
    command = [sys.executable, "-m", "bench.faster_whisper_child", json.dumps(config)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    besides = f"batch_size={batch_size}" if batch_size else f"vad_filter={options['vad_filter']}"
    told = f"num_workers={workers}, cpu_threads={threads}, {besides}"
    side = Bare(name, process.pid, told, process=process)
    listener = threading.Thread(target=side.listen)
    try:
        if not process.stdout or process.stdout.readline() != "ready\n":
            raise RuntimeError("faster-whisper did not load; what it logged is above")
        listener.start()
        yield side
    finally:
        process.kill()
        if listener.is_alive():
            listener.join()
        process.communicate()
