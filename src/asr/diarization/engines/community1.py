"""pyannote's community-1 through ONNX Runtime: who speaks in windows, how they sound, who they are; no torch.

The models are in ONNX Runtime's format (segmentation.ort, embedding.ort) or ONNX (.onnx), the tables of the PLDA model
in raw little-endian numbers, as `voice-stack models pull diarization-community1` brings them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from asr.diarization.clustering import Clustering, assign
from asr.diarization.community import GRID, listen, together, vectors
from asr.diarization.engine import (
    SAMPLE_RATE,
    Capabilities,
    Diarization,
    DiarizeOptions,
    EncoderFacts,
    Recording,
    SpeakerEncoder,
    Turn,
    Vector,
)
from asr.diarization import fbank
from asr.diarization.networks import Segmentation, SpeakerNetwork
from asr.diarization.stats import encoded, level
from asr.diarization.timeline import Activity, cleaned, numbered, touched, turns
from asr.diarization.vbx import Plda, unit
from core.engines import EngineOptions
from core.errors import ConfigurationError, InvalidAudio, ModelBroken
from utils.audio.pcm import Samples
from utils.audio.spans import Span
from utils.audio.vad import SpeechFinder

_SIZE, _REDUCED = 256, 128
_BLOCK = 30 * SAMPLE_RATE
_LISTEN_SHARE = 0.9  # of the work is listening; the rest is gone through before


class Community1Options(EngineOptions):
    """Options of the community1 engine; the numbers were chosen by measurement, see docs/performance.md."""

    step: float = Field(default=1.0, ge=0.5, le=5, description="Seconds from one window of ten to the next.")
    threshold: float = Field(default=0.6, gt=0, le=2, description="Distance up to which voices grow together at first.")
    fa: float = Field(default=0.10, gt=0, description="What a voice's vector counts when speakers are sought.")
    fb: float = Field(default=0.8, gt=0, description="Higher finds fewer speakers.")
    merge: float = Field(
        default=0.72, gt=0, le=1, description="Speakers whose vectors have a higher cosine similarity are one."
    )
    batch: int = Field(default=8, ge=1, le=64, description="Windows that the segmentation model is given at once.")
    segmentation: Path | None = Field(default=None, description="A segmentation model of your own (ONNX).")
    embedding: Path | None = Field(default=None, description="A speaker encoder of your own (ONNX, WeSpeaker's kind).")


class Community1Engine(SpeakerEncoder):
    """Segmentation, shared encoder frames, VBx clustering, and a second look at moments in which one voice is alone."""

    Options = Community1Options
    options: Community1Options
    requires = ("onnxruntime", "faster_whisper")
    runtime = "onnxruntime"
    licence = "CC-BY-4.0"
    capabilities = Capabilities(overlap=True, embeddings=True)
    facts = EncoderFacts(model="wespeaker-resnet34-lm", size=_SIZE, verify=0.5, identify=0.5)

    def load(self) -> None:
        """Open both models and prove on a tone that they compute. Raises ConfigurationError, ModelBroken."""
        folder = self.context.model
        if folder is None:
            raise ConfigurationError("community1 needs the folder of diarization-community1")
        self._segment = Segmentation(self._file(folder, "segmentation"), self.context)
        self._network = SpeakerNetwork(self._file(folder, "embedding"), self.context)
        self._plda = _plda(folder)
        tone = np.sin(np.arange(2 * SAMPLE_RATE) * 0.05).astype(np.float32) * np.float32(0.1)
        if not np.isfinite(self.embed(tone)).all():
            raise ModelBroken(f"{self.context.model_id} computes nonsense: its weights are damaged")

    def _file(self, folder: Path, name: str) -> Path:
        own: Path | None = getattr(self.options, name)
        candidates = [own] if own else [folder / f"{name}.onnx", folder / f"{name}.ort"]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise ModelBroken(f"there is no {candidates[-1].name}")
        return found

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when."""
        speech = _speech(recording)
        if not speech:
            return Diarization(turns=(), exclusive=())
        mean = level(recording, lambda share: progress((1 - _LISTEN_SHARE) * share))
        heard = listen(
            recording,
            self._segment,
            encoded(recording, self._network.encode, mean),
            self._network.project,
            step=self.options.step,
            batch=self.options.batch,
            progress=lambda share: progress(1 - _LISTEN_SHARE + _LISTEN_SHARE * share),
        )
        found = vectors(heard)
        if not len(found):
            return Diarization(turns=(), exclusive=())
        centroids = self._clustering(options).centroids(
            found,
            self._plda,
            least=options.min_speakers or 1,
            most=options.max_speakers,
            count=options.num_speakers,
        )
        labels = assign(heard.embeddings.astype(np.float64), heard.speaks, centroids)
        frames = max(GRID.frame(recording.length / SAMPLE_RATE), 0) + 1
        active, exclusive = together(heard, labels, centroids, frames)
        return _diarization(active, exclusive, centroids, recording, speech, options)

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice, at length 1. Raises InvalidAudio for less than a tenth of a second."""
        energies = fbank.fbank(samples)
        if len(energies) < fbank.FRAMES_PER_SECOND // 10:
            raise InvalidAudio("there is too little speech to tell whose voice it is", param="file")
        frames = self._network.encode(energies - energies.mean(axis=0))
        found: Vector = unit(self._network.project(frames, np.ones((1, len(frames)), np.float32))[0]).astype(np.float32)
        return found

    def _clustering(self, options: DiarizeOptions) -> Clustering:
        own = self.options
        clustering = Clustering(threshold=own.threshold, fa=own.fa, fb=own.fb, merge=own.merge)
        return clustering if options.threshold is None else replace(clustering, threshold=options.threshold)


def _speech(recording: Recording) -> list[Span]:
    """Return where Silero hears speech: the segmentation model takes barking and horns for it."""
    finder = SpeechFinder(min_silence_ms=100, padding_ms=0)
    found: list[Span] = []
    begun: int | None = None
    for start in range(0, recording.length, _BLOCK):
        stop = min(start + _BLOCK, recording.length)
        for first, last, ends in finder.feed(recording.read(start, stop), last=stop == recording.length):
            begun = first if begun is None else begun
            if ends:
                found.append(Span(begun / SAMPLE_RATE, last / SAMPLE_RATE))
                begun = None
    return found


def _diarization(
    active: Activity,
    exclusive: Activity,
    centroids: Any,
    recording: Recording,
    speech: list[Span],
    options: DiarizeOptions,
) -> Diarization:
    duration = recording.length / SAMPLE_RATE

    def tidy(found: list[Turn]) -> list[Turn]:
        return cleaned(touched(found, speech), min_on=options.min_on, min_off=options.min_off)

    every, numbers = numbered(tidy(turns(active, GRID, duration=duration)))
    single = [
        replace(turn, speaker=numbers[turn.speaker])
        for turn in tidy(turns(exclusive, GRID, duration=duration))
        if turn.speaker in numbers
    ]
    embeddings = {number: unit(centroids[old]).astype(np.float32) for old, number in numbers.items()}
    return Diarization(turns=tuple(every), exclusive=tuple(single), embeddings=embeddings)


def _plda(folder: Path) -> Plda:
    def table(name: str, kind: str, *shape: int) -> Any:
        try:
            return np.fromfile(folder / name, dtype=kind).astype(np.float64).reshape(shape)
        except (OSError, ValueError) as error:
            raise ModelBroken(f"{name} cannot be read: {error}") from error

    return Plda.read(
        mean1=table("xvec_mean1.bin", "<f8", _SIZE),
        mean2=table("xvec_mean2.bin", "<f4", _REDUCED),
        lda=table("xvec_lda.bin", "<f4", _SIZE, _REDUCED),
        mu=table("plda_mu.bin", "<f8", _REDUCED),
        tr=table("plda_tr.bin", "<f8", _REDUCED, _REDUCED),
        psi=table("plda_psi.bin", "<f8", _REDUCED),
    )
