"""A process that holds one engine and nothing else: `python -m bench.bare_child JSON`; bench/bare.py talks to it.

One line of JSON comes in per call and one goes out, with the seconds that the call took in here.
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.engine_factory import registry as asr_engines
from asr.transcript import TranscribeOptions
from core.engines import EngineContext
from tts.engine_factory import registry as tts_engines
from tts.pieces import Pieces
from tts.voice import SpeechOptions, Voice
from utils.audio import wav
from utils.audio.pcm import Audio
from utils.audio.resample import resample
from utils.text import normalize


class Bare(ABC):
    """One engine, loaded when it is made."""

    @abstractmethod
    def call(self, value: str) -> tuple[float, str]:
        """Do one call and return its seconds and what came of it."""


class BareAsr(Bare):
    """Our ASR engine: a file is read the cheapest way there is, then transcribed."""

    def __init__(self, config: dict[str, Any]) -> None:
        context = EngineContext(**{**config["context"], "model": Path(config["context"]["model"])})
        self._engine = asr_engines().get(config["engine"])(context)
        self._engine.load()
        # As the service asks for an answer in json.
        self._options = TranscribeOptions(language=config["language"], timestamps=False)

    def call(self, value: str) -> tuple[float, str]:
        """Transcribe a file."""
        started = time.perf_counter()
        found = self._engine.transcribe(_read(Path(value)), self._options)
        text = "".join(segment.text for segment in found.segments).strip()
        return time.perf_counter() - started, text


class BareFasterWhisper(Bare):
    """faster-whisper as its own documentation shows it, told to decode as our engine does by default."""

    def __init__(self, config: dict[str, Any]) -> None:
        from faster_whisper import WhisperModel  # noqa: PLC0415 - only this side needs it

        context = config["context"]
        self._model = WhisperModel(
            context["model"],
            device=context["device"],
            compute_type=context["compute_type"],
            cpu_threads=context["threads"],
        )
        self._options = {"language": config["language"], **config["decoding"]}

    def call(self, value: str) -> tuple[float, str]:
        """Transcribe a file, which the library decodes itself."""
        started = time.perf_counter()
        segments, _ = self._model.transcribe(value, vad_filter=True, **self._options)
        text = "".join(segment.text for segment in segments).strip()
        return time.perf_counter() - started, text


class BareTts(Bare):
    """Our TTS engine: the first piece of a text, cut as the worker cuts it, up to its first samples."""

    def __init__(self, config: dict[str, Any]) -> None:
        context = EngineContext(**{**config["context"], "model": Path(config["context"]["model"])})
        self._engine = tts_engines().get(config["engine"])(context)
        self._engine.load()
        self._voice = Voice(**config["voice"])
        self._max_chars = min(config["max_chars"], self._engine.max_chars)

    def call(self, value: str) -> tuple[float, str]:
        """Begin to speak a text; cutting it is not counted."""
        text = normalize.for_speech(value)
        first = Pieces(text, longest=self._max_chars, first_chars=self._engine.first_chars).first().text
        started = time.perf_counter()
        chunk = next(iter(self._engine.synthesize(first, self._voice, SpeechOptions(language="en"))))
        chunk.to_s16()
        return time.perf_counter() - started, first


def _read(path: Path) -> Audio:
    pcm = wav.probe(path)
    if pcm is not None:
        return Audio(pcm.read(), pcm.sample_rate)
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
    return resample(Audio(mono, rate), 16_000)


KINDS: Mapping[str, Callable[[dict[str, Any]], Bare]] = {
    "asr": BareAsr,
    "tts": BareTts,
    "faster-whisper": BareFasterWhisper,
}


def main(config: dict[str, Any]) -> None:
    """Load what the configuration names, say so, and answer calls until standard input ends."""
    bare = KINDS[config["kind"]](config)
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, result = bare.call(json.loads(line))
        print(json.dumps({"seconds": seconds, "result": result}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
