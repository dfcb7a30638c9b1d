"""One engine in a process of its own, in the environment of its extra: `python -m bench.engine_child JSON`.

It loads the engine, hears the files or says the texts that it is told, and writes what came of it to the file
`answer`: what a library prints goes nowhere near it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.engine import AsrEngine
from asr.transcript import TranscribeOptions
from bench import processes
from bench.engines_plan import REGISTRIES
from core.engine_loading import EngineConfig, load_engine
from core.engines import Engine
from tts.engine import TtsEngine
from tts.voice import SpeechOptions
from utils.audio.pcm import Audio
from utils.audio.resample import resample


def main(config: Mapping[str, Any]) -> None:
    """Do what the configuration says."""
    started = time.perf_counter()
    told = EngineConfig(
        engine=config["engine"],
        model=config["model"],
        model_id=config["model_id"],
        device="cpu",
        threads=config["threads"],
        engine_options=config["options"],
    )
    engine = load_engine(REGISTRIES[config["kind"]], told)
    loaded = time.perf_counter() - started
    done = hear(engine, config) if isinstance(engine, AsrEngine) else say(engine, config)
    answer = {"load_seconds": loaded, "library": library(type(engine)), "rss_mb": processes.memory(os.getpid()).peak}
    Path(config["answer"]).write_text(json.dumps(answer | done), encoding="utf-8")
    engine.close()


def hear(engine: AsrEngine, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts of the files, and how long they took; the first one is heard twice, to warm up."""
    clips = [_read(path, engine.sample_rate) for path in config["files"]]
    texts, seconds = [], 0.0
    for number, clip in enumerate([clips[0], *clips]):
        started = time.perf_counter()
        found = engine.transcribe(clip, TranscribeOptions(language="en"))
        text = "".join(segment.text for segment in found.segments).strip()
        if number:
            texts.append(text)
            seconds += time.perf_counter() - started
    return {"texts": texts, "seconds": seconds, "audio_seconds": sum(clip.duration for clip in clips)}


def say(engine: TtsEngine, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the texts as WAV files into the folder, and return how long that took; the first is said twice."""
    voices = engine.voices()
    voice = next((voice for voice in voices if voice.id == config["voice"]), voices[0])
    files, seconds, audio_seconds = [], 0.0, 0.0
    for number, text in enumerate([config["texts"][0], *config["texts"]]):
        started = time.perf_counter()
        chunks = [chunk.samples for chunk in engine.synthesize(text, voice, SpeechOptions())]
        taken = time.perf_counter() - started
        if number:
            samples = np.concatenate(chunks)
            target = Path(config["folder"]) / f"{number}.wav"
            soundfile.write(target, samples, engine.sample_rate, subtype="PCM_16")
            files.append(str(target))
            seconds += taken
            audio_seconds += len(samples) / engine.sample_rate
    return {"files": files, "seconds": seconds, "audio_seconds": audio_seconds}


def library(engine: type[Engine]) -> str:
    """Return the distribution behind an engine with its version; nothing for an engine without a library."""
    for name in engine.requires[:1]:
        for distribution in packages_distributions().get(name.partition(".")[0], [])[:1]:
            return f"{distribution} {version(distribution)}"
    return ""


def _read(path: str, rate: int) -> Audio:
    samples, found = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(Audio(np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32)), found), rate)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
