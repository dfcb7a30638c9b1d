"""What speaks side by side: our service and fastkokoro over HTTP, the bare libraries in processes of their own."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench import environments
from bench.children import asked, ended
from bench.tts_player import NANOSECONDS, Arrival, Playback, play
from utils.audio.levels import FRAME_SECONDS, loudness, sounding
from utils.audio.pcm import INT16_SCALE, Audio, Samples

ROOT = Path(__file__).resolve().parent.parent
FASTKOKORO = "fastkokoro"
PCM_RATE = 24_000
START_SECONDS = 180.0
_SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Spoken:
    """One answer: its audio, when each part of it came, and the rate in Hz of its 16-bit samples.

    Of compressed audio only the first byte means something.
    """

    text: str
    audio: bytes
    arrivals: tuple[Arrival, ...]
    rate: int

    @property
    def first_byte_ms(self) -> float:
        """Milliseconds until the first audio."""
        return self.arrivals[0].at * 1000 / NANOSECONDS

    @property
    def total_seconds(self) -> float:
        """Seconds until the last audio."""
        return self.arrivals[-1].at / NANOSECONDS

    @property
    def seconds(self) -> float:
        """Seconds that the audio lasts."""
        return len(self.audio) / (self.rate * _SAMPLE_BYTES)

    @property
    def samples(self) -> Samples:
        """The audio."""
        return np.frombuffer(self.audio, dtype="<i2").astype(np.float32) / INT16_SCALE

    @property
    def sounding_seconds(self) -> float:
        """Seconds from the first sound to the last one: how much silence is around them is a matter of taste."""
        loud = np.flatnonzero(sounding(loudness(Audio(self.samples, self.rate))))
        return float(loud[-1] + 1 - loud[0]) * FRAME_SECONDS if len(loud) else 0.0

    @property
    def playback(self) -> Playback:
        """What a player that starts with the first byte makes of it."""
        return play(self.arrivals, bytes_per_second=self.rate * _SAMPLE_BYTES)


Speak = Callable[[Sequence[str]], list[Spoken]]
"""Speaks the texts all at the same time and returns what came, in their order. Raises when one of them failed."""


def over_http(client: httpx.Client, url: str, body: Mapping[str, Any]) -> Speak:
    """Return a side that asks OpenAI's route; `body` is what stands in every request beside the text.

    The clock starts when the request, which is built before, is sent.
    """

    def one(text: str, together: threading.Barrier) -> Spoken:
        request = client.build_request("POST", f"{url}/v1/audio/speech", json={**body, "input": text})
        parts: list[bytes] = []
        arrivals: list[Arrival] = []
        together.wait()
        started = time.perf_counter_ns()
        response = client.send(request, stream=True)
        with contextlib.closing(response):
            for part in response.iter_raw():
                arrivals.append(Arrival(time.perf_counter_ns() - started, len(part)))
                parts.append(part)
        if not response.is_success or not arrivals:
            raise RuntimeError(f"{url} answered {response.status_code}: {b''.join(parts)[:300]!r}")
        return Spoken(text, b"".join(parts), tuple(arrivals), PCM_RATE)

    def speak(texts: Sequence[str]) -> list[Spoken]:
        together = threading.Barrier(len(texts))
        with ThreadPoolExecutor(len(texts)) as pool:
            return list(pool.map(lambda text: one(text, together), texts))

    return speak


@contextmanager
def bare(config: Mapping[str, Any]) -> Iterator[Callable[[str], Speak]]:
    """Load a library in a process of its own; the function returns the side that speaks by one of its calls."""
    with asked("bench.tts_child", config, what=config["library"]) as ask:

        def calling(call: str) -> Speak:
            return lambda texts: [_spoken(found) for found in ask({"call": call, "texts": list(texts)})]

        yield calling


def _spoken(found: Mapping[str, Any]) -> Spoken:
    arrivals = tuple(Arrival(at, size) for at, size in found["arrivals"])
    return Spoken(found["text"], base64.b64decode(found["audio"]), arrivals, found["rate"])


def write_voices(styles: Path, voice: str, target: Path) -> Path:
    """Write a voice of ours into the one .npz file that kokoro-onnx and fastkokoro read voices from."""
    style = np.fromfile(styles / f"{voice}.bin", dtype="<f4").reshape(-1, 1, 256)
    np.savez(target, allow_pickle=False, **{voice: style})
    return target


@contextmanager
def fastkokoro(model: Path, voices: Path, *, threads: int, settings: Mapping[str, str]) -> Iterator[str]:
    """Run fastkokoro's server and yield its address. Raises RuntimeError when it does not start."""
    command = environments.program(FASTKOKORO)
    if command is None:
        raise RuntimeError("fastkokoro is not installed: make bench-env")
    with tempfile.TemporaryDirectory(prefix="bench-fastkokoro-") as folder, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        told = {
            "MODEL_PATH": str(model),
            "VOICES_PATH": str(voices),
            "CACHE_DIR": folder,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "ONNX_INTRA_OP_NUM_THREADS": str(threads),
            **settings,
        }
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"} | {f"FASTKOKORO_{key}": told[key] for key in told}
        process = subprocess.Popen([command], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        with ended(process):
            url = f"http://127.0.0.1:{port}"
            _wait_for(process, url)
            yield url


def _wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until it is warm, which is when it begins to listen."""
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{url}/health").is_success:
                    return
            time.sleep(0.2)
    raise RuntimeError("fastkokoro did not start; what it logged is above")
