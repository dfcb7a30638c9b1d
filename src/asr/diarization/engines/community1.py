"""pyannote's community-1 through ONNX Runtime: who speaks in windows, how they sound, who they are; no torch.

The models are in ONNX Runtime's format (segmentation.ort, embedding.ort) or ONNX (.onnx), the tables of the PLDA model
in raw little-endian numbers, as `voice-stack models pull diarization-community1` brings them.
"""

from __future__ import annotations

from collections.abc import Callable
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
    Recording,
    SpeakerEncoder,
    Turn,
    Vector,
)
from asr.diarization.likeness import Matrix, unit
from asr.diarization.networks import WESPEAKER, Segmentation, SpeakerNetwork, encoder_facts, is_own, model_file
from asr.diarization.reference import prove
from asr.diarization.shares import part
from asr.diarization.stats import encoded, level
from asr.diarization.timeline import cleaned, cleaned_exclusive, numbered, touched, turns
from asr.diarization.vbx import Plda
from core.engines import EngineOptions
from core.errors import ConfigurationError, ModelBroken
from utils.audio.pcm import Samples
from utils.audio.spans import Span

_SIZE, _REDUCED = 256, 128
_VAD_DONE, _LEVEL_DONE, _LISTENED = 0.1, 0.15, 0.95  # shares of the work that are done when each has been


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
    capabilities = Capabilities(overlap=True)
    facts = WESPEAKER

    def load(self) -> None:
        """Open both models, and prove that they compute what they should. Raises ConfigurationError, ModelBroken."""
        folder = self.context.model
        if folder is None:
            raise ConfigurationError("community1 needs the folder of diarization-community1")
        own = self.options
        segmentation = model_file(folder, "segmentation", own.segmentation)
        encoder = model_file(folder, "embedding", own.embedding)
        self._segment = Segmentation(segmentation, self.context)
        self._network = SpeakerNetwork(encoder, self.context)
        if self._network.size != _SIZE:
            raise ConfigurationError(
                f"the vectors of {encoder.name} have {self._network.size} numbers, and the PLDA model is for {_SIZE}; "
                "the engine fast takes any encoder"
            )
        self._plda = _plda(folder)
        own_encoder = is_own(encoder, self.context)
        self.facts = encoder_facts(self._network, encoder if own_encoder else None)
        prove(
            segment=None if is_own(segmentation, self.context) else self._segment,
            embed=None if own_encoder else self.embed,
        )
        if own_encoder:
            self.check_computes()

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when."""
        speech = self.speech(recording, progress=part(progress, 0, _VAD_DONE))
        if not speech:
            return Diarization(turns=(), exclusive=())
        mean = level(recording, part(progress, _VAD_DONE, _LEVEL_DONE))
        heard = listen(
            recording,
            self._segment,
            encoded(recording, self._network.encode, mean),
            self._network.project,
            step=self.options.step,
            batch=self.options.batch,
            progress=part(progress, _LEVEL_DONE, _LISTENED),
        )
        found = vectors(heard, least=options.num_speakers or options.min_speakers or 1)
        if not len(found):
            return Diarization(turns=(), exclusive=())
        clustered = part(progress, _LISTENED, 1)
        centroids = self._clustering(options).centroids(found, self._plda, options, progress=clustered)
        progress(1.0)
        labels = assign(heard.embeddings, heard.speaks, centroids)
        duration = recording.length / SAMPLE_RATE
        active, exclusive = together(heard, labels, centroids, max(GRID.frame(duration), 0) + 1)
        every, single = (turns(frames, GRID, duration=duration) for frames in (active, exclusive))
        return _tidy(every, single, centroids, speech, options)

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice, at length 1. Raises InvalidAudio for less than a tenth of a second."""
        return self._network.embed(samples)

    def _clustering(self, options: DiarizeOptions) -> Clustering:
        own = self.options
        clustering = Clustering(threshold=own.threshold, fa=own.fa, fb=own.fb, merge=own.merge)
        return clustering if options.threshold is None else replace(clustering, threshold=options.threshold)


def _tidy(
    every: list[Turn], single: list[Turn], centroids: Matrix, speech: list[Span], options: DiarizeOptions
) -> Diarization:
    """Return a diarization without what Silero hears no speech in: the networks take barking and horns for it.

    `single` are the turns of which one is at a time, `centroids` the speakers' vectors by number.
    """
    bounds = {"min_on": options.min_on, "min_off": options.min_off}
    kept, numbers = numbered(cleaned(touched(every, speech), **bounds))
    exclusive = [
        replace(turn, speaker=numbers[turn.speaker])
        for turn in cleaned_exclusive(touched(single, speech), **bounds)
        if turn.speaker in numbers
    ]
    embeddings = {number: unit(centroids[old]).astype(np.float32) for old, number in numbers.items()}
    return Diarization(turns=tuple(kept), exclusive=tuple(exclusive), embeddings=embeddings)


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
