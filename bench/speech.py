"""Recorded speech whose words are known: short clips, and long recordings joined from them with pauses between."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from bench.audio import RATE, RECORDINGS

PAUSES = (0.4, 0.7, 1.0, 1.6, 2.2)
"""Seconds between two clips of a recording, in turn: shorter and longer than what a VAD takes for a pause."""
_FOLDER = "en/librispeech/"
_SEED = 4
_EXTRA_SAMPLES = 160


class NoSpeech(Exception):
    """The recordings are not at hand; the message says where they are looked for."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A file of speech: its length in seconds and what is said in it."""

    path: Path
    seconds: float
    text: str


def clips() -> list[Clip]:
    """Return the LibriSpeech clips with their transcripts, in the order of their names. Raises NoSpeech."""
    root = RECORDINGS.parent
    manifest = root / "MANIFEST.tsv"
    if not manifest.is_file():
        raise NoSpeech(f"no {manifest}: set VOICE_STACK_TEST_DATA to the folder with the recordings")
    with manifest.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["path"].startswith(_FOLDER)]
    found = [
        Clip(root / row["path"], soundfile.info(root / row["path"]).duration, row["ground_truth"].removeprefix("text:"))
        for row in rows
    ]
    return sorted(found, key=lambda clip: clip.path)


def between(clips: Sequence[Clip], shortest: float, longest: float) -> list[Clip]:
    """Return the clips of such a length in seconds."""
    return [clip for clip in clips if shortest <= clip.seconds <= longest]


def some(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Return so many of the clips, all lengths and speakers among them; all where there are no more."""
    if count >= len(clips):
        return list(clips)
    return [clips[round(number * len(clips) / count)] for number in range(count)]


def cut(clips: Sequence[Clip], folder: Path, seconds: float) -> list[Clip]:
    """Return the beginnings of the clips as WAV files in `folder`; what is said in them is not known."""
    found = []
    for clip in clips:
        target = folder / f"{clip.path.stem}-{seconds:g}s.wav"
        soundfile.write(target, _read(clip)[: round(seconds * RATE)], RATE, subtype="PCM_16")
        found.append(Clip(target, seconds, ""))
    return found


def at_least(clips: Sequence[Clip], folder: Path, count: int) -> list[Clip]:
    """Return the clips, and copies of them in `folder` where there are fewer than `count`.

    A copy ends with some silence more than the one before, because our service does identical requests only once.
    """
    found = list(clips)
    while len(found) < count:
        number, clip = divmod(len(found), len(clips))
        silence = np.zeros(number * _EXTRA_SAMPLES, dtype=np.int16)
        target = folder / f"{clips[clip].path.stem}-{number}.flac"
        soundfile.write(target, np.concatenate([_read(clips[clip]), silence]), RATE, subtype="PCM_16")
        found.append(Clip(target, clips[clip].seconds, clips[clip].text))
    return found


def recording(clips: Sequence[Clip], target: Path, seconds: float, *, speech: float | None = None) -> Clip:
    """Write clips with pauses between, shuffled again for every pass, to a file of `seconds`.

    Only whole clips are in it, and after `speech` seconds (None: as many as fit) there is silence.
    """
    samples: NDArray[np.int16] = np.zeros(round(seconds * RATE), dtype=np.int16)
    end = min(seconds, seconds if speech is None else speech)
    at, said = 0.0, []
    for number, clip in enumerate(_endless(clips)):
        if at + clip.seconds > end:
            break
        piece = _read(clip)
        first = round(at * RATE)
        samples[first : first + len(piece)] = piece[: len(samples) - first]
        said.append(clip.text)
        at += clip.seconds + PAUSES[number % len(PAUSES)]
    soundfile.write(target, samples, RATE, subtype="PCM_16")
    return Clip(target, seconds, " ".join(said))


def _endless(clips: Sequence[Clip]) -> Iterator[Clip]:
    chance = random.Random(_SEED)
    while clips:
        yield from chance.sample(clips, len(clips))


def _read(clip: Clip) -> NDArray[np.int16]:
    samples, rate = soundfile.read(clip.path, dtype="int16")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{clip.path} is not mono at {RATE} Hz")
    return np.asarray(samples, dtype=np.int16)
