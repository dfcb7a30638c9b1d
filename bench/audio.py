"""What is transcribed: recordings where they are at hand, else speech of our own TTS service."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import soundfile

from bench.services import running
from utils.audio import ffmpeg
from utils.audio.pcm import INT16_SCALE, Samples

RECORDINGS = (
    Path(os.environ.get("VOICE_STACK_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "en"
)
RATE = 16_000
CLIP_SECONDS = 10.0
GAP_SECONDS = 0.5
SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
)
"""From the Harvard sentences (IEEE 1969), which are made for measuring speech."""


def clip(folder: Path) -> Path:
    """Return a 16 kHz mono WAV of about ten seconds in `folder`."""
    target = folder / "clip.wav"
    if (recorded := RECORDINGS / "beckett.wav").is_file():
        shutil.copy(recorded, target)
    else:
        samples = _spoken(SENTENCES[:5])[: round(CLIP_SECONDS * RATE)]
        soundfile.write(target, samples, RATE, subtype="PCM_16")
    return target


def as_mp3(source: Path) -> Path:
    """Return the recording as an MP3 file beside it, 64 kbit/s."""
    target = source.with_suffix(".mp3")
    _ffmpeg("-i", str(source), "-b:a", "64k", str(target))
    return target


def long_recording(folder: Path, seconds: float) -> Path:
    """Return a FLAC file of exactly `seconds`: varied speech of a few minutes, repeated.

    Varied, because one sentence over and over is what Whisper takes for its own repetition loop.
    """
    source = folder / "speech.wav"
    files = sorted((RECORDINGS / "librispeech").glob("*.flac"))
    speech = np.concatenate([_with_gap(_read(path)) for path in files]) if files else _spoken(SENTENCES)
    soundfile.write(source, speech, RATE, subtype="PCM_16")
    target = folder / "long.flac"
    _ffmpeg("-stream_loop", "-1", "-i", str(source), "-t", str(seconds), str(target))
    return target


def _read(path: Path) -> Samples:
    samples: Samples
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{path} is not mono at {RATE} Hz")
    return samples


def _with_gap(samples: Samples) -> Samples:
    return np.concatenate([samples, np.zeros(round(GAP_SECONDS * RATE), dtype=np.float32)])


def _spoken(sentences: Sequence[str]) -> Samples:
    """Return the sentences as our own TTS service says them, at 16 kHz."""
    body = {"input": " ".join(sentences), "response_format": "pcm", "sample_rate": RATE}
    with running("tts") as service:
        answer = httpx.post(f"{service.url}/v1/audio/speech", json=body, timeout=600.0, trust_env=False)
        answer.raise_for_status()
    return np.frombuffer(answer.content, dtype="<i2").astype(np.float32) / INT16_SCALE


def _ffmpeg(*arguments: str) -> None:
    command = [ffmpeg.executable(), "-v", "error", "-nostdin", "-y", *arguments]
    subprocess.run(command, check=True)
