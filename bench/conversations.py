"""Recordings with known speakers: conversations with their turns, monologues, recordings without speech."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from bench.audio import RATE, RECORDINGS
from bench.speech import Clip, NoSpeech
from utils.audio import ffmpeg, wav
from utils.audio.pcm import PcmFile

ROOT = RECORDINGS.parent
SAMPLE, AMI, CONV2, CONV3, NOISY = "sample", "ami_m1", "conv2", "conv3", "conv2_noise10dB"
_FILES = {
    SAMPLE: ("conversation/sample.wav", "conversation/sample.rttm"),
    AMI: ("conversation/ami_m1.flac", "conversation/ami_m1.rttm"),
    CONV2: ("conversation/conv2_clean.flac", "conversation/conv2_clean.rttm"),
    CONV3: ("conversation/conv3_overlap.flac", "conversation/conv3_overlap.rttm"),
    NOISY: ("conversation/conv2_noise10dB.flac", "conversation/conv2_clean.rttm"),
    "conv2_noise0dB": ("conversation/conv2_noise0dB.flac", "conversation/conv2_clean.rttm"),
    "conv2_telephone": ("telephone/conv2_tel8k.wav", "conversation/conv2_clean.rttm"),
}
_MONOLOGUES = ("en/jfk.wav", "en/two_cities_16k.wav", "en/en.mp3", "multi/de.mp3", "multi/es.mp3")

Spoken = tuple[float, float, str]
"""A turn: its start and end in seconds, and who talks."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A recording, and the turns of those who talk in it; `path` is a 16 kHz WAV file once it is `prepared`."""

    name: str
    path: Path
    turns: tuple[Spoken, ...] = ()

    @property
    def speakers(self) -> tuple[str, ...]:
        """All who talk."""
        return tuple(sorted({who for _, _, who in self.turns}))

    @property
    def pcm(self) -> PcmFile:
        """The samples. ValueError for a file that is not prepared."""
        found = wav.probe(self.path)
        if found is None:
            raise ValueError(f"{self.path.name} is not plain PCM")
        return found


def conversations(folder: Path, names: Sequence[str] = tuple(_FILES), root: Path = ROOT) -> list[Conversation]:
    """Return conversations by name, their samples prepared in `folder`. Raises NoSpeech."""
    return [
        Conversation(name, prepared(_there(root / file), folder), turns_of(_there(root / rttm)))
        for name, (file, rttm) in _FILES.items()
        if name in names
    ]


def monologues(folder: Path, root: Path = ROOT) -> list[Conversation]:
    """Return recordings in which one person talks. Raises NoSpeech."""
    return [Conversation(Path(name).stem, prepared(_there(root / name), folder)) for name in _MONOLOGUES]


def nospeech(folder: Path, root: Path = ROOT) -> list[Conversation]:
    """Return recordings in which nobody talks. Raises NoSpeech."""
    found = sorted(path for path in _there(root / "nospeech").iterdir() if path.suffix in {".wav", ".flac"})
    return [Conversation(path.stem, prepared(path, folder)) for path in found]


def turns_of(path: Path) -> tuple[Spoken, ...]:
    """Return the turns of an RTTM file."""
    fields = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("SPEAKER ")]
    return tuple((start := float(one[3]), start + float(one[4]), one[7]) for one in fields)


def prepared(path: Path, folder: Path) -> Path:
    """Return the recording as a 16 kHz mono WAV file in `folder`."""
    target = folder / f"{path.parent.name}-{path.stem}.wav"
    if not target.exists():
        shape = ("-ac", "1", "-ar", str(RATE), "-c:a", "pcm_s16le")
        command = [ffmpeg.executable(), "-v", "error", "-nostdin", "-y", "-i", str(path), *shape, str(target)]
        subprocess.run(command, check=True)
    return target


def reference(who: str, conversation: str, clips: Sequence[Clip], target: Path, seconds: float) -> Path:
    """Write `seconds` of a speaker's speech that is not in the conversation to a WAV file. Raises NoSpeech."""
    used = _utterances(_there((ROOT / _FILES[conversation][1]).with_suffix(".tsv")))
    left = [clip for clip in clips if clip.path.stem.split("-")[0] == who and clip.path.stem not in used]
    if sum(clip.seconds for clip in left) < seconds:
        raise NoSpeech(f"there are no {seconds:g} s of {who} that are not in {conversation}")
    samples = np.concatenate([soundfile.read(clip.path, dtype="int16")[0] for clip in left])
    soundfile.write(target, samples[: round(seconds * RATE)], RATE, subtype="PCM_16")
    return target


def _utterances(path: Path) -> set[str]:
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["utt"] for row in csv.DictReader(lines, delimiter="\t")}


def _there(path: Path) -> Path:
    if not path.exists():
        raise NoSpeech(f"no {path}: set VOICE_STACK_TEST_DATA to the folder with the recordings")
    return path
