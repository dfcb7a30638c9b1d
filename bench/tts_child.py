"""A process that holds one speech library and nothing else: `python -m bench.tts_child JSON`.

One line of JSON comes in per round, {"call", "texts"}, and one goes out: for every text its audio (16 bit, base64) and
when each part of it was there. The texts of a round are spoken at the same time, each by a thread of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from utils.audio.pcm import Samples

Put = Callable[[Samples], None]


class Library(ABC):
    """A library, loaded when it is made; `rate` is that of its samples in Hz."""

    rate: int

    @abstractmethod
    def speak(self, call: str, text: str, put: Put) -> None:
        """Speak a text by the named call of the library and hand over each part of the audio as soon as it is there."""


class KokoroOnnx(Library):
    """kokoro-onnx: `create_stream` gives up to 510 phonemes at a time, `create` everything at the end."""

    rate = 24_000

    def __init__(self, config: Mapping[str, Any]) -> None:
        from kokoro_onnx import Kokoro  # noqa: PLC0415 - one process has one library

        session = _session(config["model"], config["threads"])
        self._kokoro = Kokoro.from_session(session, config["voices"])
        self._voice = config["voice"]

    def speak(self, call: str, text: str, put: Put) -> None:
        """Speak in American English."""
        if call == "create":
            put(self._kokoro.create(text, self._voice)[0])
        else:
            asyncio.run(self._stream(text, put))

    async def _stream(self, text: str, put: Put) -> None:
        async for samples, _ in self._kokoro.create_stream(text, self._voice):
            put(samples)


class PiperTts(Library):
    """piper-tts: `synthesize` gives a sentence at a time."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from piper import PiperVoice  # noqa: PLC0415 - one process has one library
        from piper.config import PiperConfig  # noqa: PLC0415

        model = Path(config["model"])
        settings = PiperConfig.from_dict(json.loads(Path(f"{model}.json").read_text(encoding="utf-8")))
        # Not by PiperVoice.load, which takes all cores whatever it is told.
        session = _session(str(model), config["threads"])
        self._voice = PiperVoice(session=session, config=settings, download_dir=model.parent)
        self.rate = settings.sample_rate

    def speak(self, call: str, text: str, put: Put) -> None:  # noqa: ARG002 - it has one call only
        """Speak with the voice of the model."""
        for chunk in self._voice.synthesize(text):
            put(chunk.audio_float_array)


LIBRARIES: Mapping[str, Callable[[Mapping[str, Any]], Library]] = {"kokoro-onnx": KokoroOnnx, "piper-tts": PiperTts}


def _session(model: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _speak(library: Library, call: str, text: str, together: threading.Barrier) -> dict[str, Any]:
    arrivals: list[tuple[int, int]] = []
    parts: list[bytes] = []
    together.wait()
    started = time.perf_counter_ns()

    def put(samples: Samples) -> None:
        part = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        arrivals.append((time.perf_counter_ns() - started, len(part)))
        parts.append(part)

    library.speak(call, text, put)
    audio = base64.b64encode(b"".join(parts)).decode("ascii")
    return {"text": text, "rate": library.rate, "arrivals": arrivals, "audio": audio}


def main(config: dict[str, Any]) -> None:
    """Load the library, say so, and answer until standard input ends."""
    library = LIBRARIES[config["library"]](config)
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        call, texts = asked["call"], asked["texts"]
        together = threading.Barrier(len(texts))
        with ThreadPoolExecutor(len(texts)) as pool:
            spoken = list(pool.map(lambda text: _speak(library, call, text, together), texts))  # noqa: B023
        print(json.dumps(spoken), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
