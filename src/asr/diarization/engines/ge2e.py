"""Resemblyzer's speaker encoder over short windows of speech, clustered: small and fast, good on clean speech alone.

The baseline, and what is left where community1 cannot be had. Its weights are a file of torch's, read without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from pydantic import Field

from asr.diarization.clip import Clip
from asr.diarization.engine import (
    SAMPLE_RATE,
    Capabilities,
    Diarization,
    DiarizeOptions,
    EncoderFacts,
    Recording,
    SpeakerEncoder,
    Vector,
)
from asr.diarization.ge2e import FRAME, SHIFT, WINDOW, Ge2eNetwork, gain
from asr.diarization.likeness import Matrix, unit
from asr.diarization.own_weights import own_name
from asr.diarization.shares import part, unheard
from asr.diarization.short_windows import Window, cut_up, diarized
from core.engines import EngineOptions
from core.errors import ConfigurationError, InvalidAudio, ModelBroken
from utils.audio.pcm import Samples
from utils.audio.spans import Span
from utils.digest import sha256_of
from utils.torch_file import NotTensors, read_tensors

WEIGHTS_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
"""Of the catalogue's pretrained.pt."""
_WINDOW_SECONDS = WINDOW / SAMPLE_RATE
_EMBED_STEP = 0.77  # seconds: 1.3 windows in a second, as Resemblyzer takes them
_LEAST = 0.8  # seconds of speech of which a vector is fit to find speakers by
_LEAST_SAMPLES = SAMPLE_RATE // 10
_BATCH = 32
_BLOCK = 30 * SAMPLE_RATE
# Shares of the work that are done when each is known, and when the network is done; the rest is clustering.
_VAD_DONE, _GAIN_DONE, _LISTENED = 0.3, 0.35, 0.95


class Ge2eOptions(EngineOptions):
    """Options of the ge2e engine."""

    threshold: float = Field(default=0.38, gt=0, le=2, description="Cosine distance up to which voices are one's.")
    step: float = Field(default=0.8, ge=0.1, le=1.6, description="Most seconds from one window of 1.6 to the next.")


class Ge2eEngine(SpeakerEncoder):
    """Speech by Silero VAD, a vector for each window of 1.6 s, and clusters of these vectors; on the CPU."""

    Options = Ge2eOptions
    options: Ge2eOptions
    requires = ("faster_whisper",)
    licence = "Apache-2.0"
    capabilities = Capabilities()
    facts = EncoderFacts(model="ge2e", size=256, verify=0.22, identify=0.22)

    def load(self) -> None:
        """Read the weights and prove on a tone that they compute. Raises ConfigurationError, ModelBroken."""
        folder = self.context.model
        if folder is None:
            raise ConfigurationError("ge2e needs the folder with Resemblyzer's pretrained.pt")
        weights = folder / "pretrained.pt"
        try:
            self._network = Ge2eNetwork(read_tensors(weights, "model_state"))
        except (OSError, NotTensors, KeyError, ValueError) as error:
            raise ModelBroken(f"pretrained.pt is not Resemblyzer's: {error}") from error
        if self._network.size != self.facts.size:
            raise ModelBroken(f"the vectors of pretrained.pt have {self._network.size} numbers, not {self.facts.size}")
        if sha256_of(weights) != WEIGHTS_SHA256:
            self.facts = replace(self.facts, model=own_name("ge2e", weights))
        self.check_computes()

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when."""
        if recording.length < _LEAST_SAMPLES:
            return Diarization(turns=(), exclusive=())
        speech = self.speech(recording, progress=part(progress, 0, _VAD_DONE))
        windows = list(cut_up(speech, size=_WINDOW_SECONDS, step=self.options.step))
        louder = gain(_power(recording, speech, part(progress, _VAD_DONE, _GAIN_DONE)))
        vectors = self._vectors(recording, windows, louder, part(progress, _GAIN_DONE, _LISTENED))
        clustered = part(progress, _LISTENED, 1)
        return diarized(windows, vectors, options, threshold=self.options.threshold, least=_LEAST, progress=clustered)

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice, at length 1. Raises InvalidAudio for less than a tenth of a second."""
        if len(samples) < _LEAST_SAMPLES:
            raise InvalidAudio("there is too little speech to tell whose voice it is", param="file")
        clip = Clip(samples)
        whole = [Span(0.0, clip.length / SAMPLE_RATE)]
        windows = list(cut_up(whole, size=_WINDOW_SECONDS, step=_EMBED_STEP))
        louder = gain(_power(clip, whole, unheard))
        return unit(self._vectors(clip, windows, louder, unheard).mean(axis=0)).astype(np.float32)

    def _vectors(
        self, recording: Recording, windows: list[Window], louder: float, progress: Callable[[float], None]
    ) -> Matrix:
        """Return the vectors of windows, shape (windows, size)."""
        vectors = np.zeros((len(windows), self._network.size))
        for first in range(0, len(windows), _BATCH):
            some = windows[first : first + _BATCH]
            vectors[first : first + _BATCH] = self._network([_heard(recording, window, louder) for window in some])
            progress(some[-1].end * SAMPLE_RATE / recording.length)
        return vectors


def _heard(recording: Recording, window: Window, louder: float) -> Samples:
    """Return the samples of a window, and the half frames around it: frames are centred."""
    start, stop = round(window.start * SAMPLE_RATE), round(window.end * SAMPLE_RATE)
    around = FRAME // 2
    return recording.read(start - around, stop - SHIFT + around) * np.float32(louder)


def _power(recording: Recording, speech: list[Span], progress: Callable[[float], None]) -> float:
    """Return the mean square of the samples with speech."""
    total, count = 0.0, 0
    for span in speech:
        start, stop = round(span.start * SAMPLE_RATE), round(span.end * SAMPLE_RATE)
        for first in range(start, stop, _BLOCK):
            samples = recording.read(first, min(first + _BLOCK, stop))
            total += float(np.dot(samples, samples))
            count += len(samples)
        progress(stop / recording.length)
    return total / max(count, 1)
