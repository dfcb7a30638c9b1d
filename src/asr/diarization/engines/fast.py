"""WeSpeaker vectors of short windows, clustered: twice as fast as community1, one speaker at a time; no torch.

Needs the speaker encoder alone: `voice-stack models pull wespeaker-resnet34-lm`, or one of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import Field

from asr.diarization.engine import (
    SAMPLE_RATE,
    Capabilities,
    Diarization,
    DiarizeOptions,
    DiarizeStream,
    Recording,
    SpeakerEncoder,
    Vector,
)
from asr.diarization.following import Follower
from asr.diarization.likeness import Matrix
from asr.diarization.networks import LEAST_SAMPLES, WESPEAKER, SpeakerNetwork, encoder_facts, is_own, model_file
from asr.diarization.reference import prove
from asr.diarization.shares import part
from asr.diarization.short_windows import Window, cut_up, diarized
from asr.diarization.stats import FrameBuffer, encoded, level
from core.engines import EngineOptions
from utils.audio.pcm import Samples

_VAD_DONE, _LISTENED = 0.2, 0.95  # shares of the work that are done when there is speech, and when it has vectors
_LEVEL_DONE = 0.05  # share of the listening that is done when the mean of the energies is known
_LEAST = 0.5  # seconds of speech of which a vector is fit to find speakers by


class FastOptions(EngineOptions):
    """Options of the fast engine."""

    threshold: float = Field(default=0.6, gt=0, le=2, description="Cosine distance up to which voices are one's.")
    window: float = Field(default=1.5, ge=0.5, le=10, description="Seconds of which a vector is made.")
    step: float = Field(default=0.75, ge=0.1, le=10, description="Most seconds from one window to the next.")
    embedding: Path | None = Field(default=None, description="A speaker encoder of your own (ONNX, WeSpeaker's kind).")


class FastEngine(SpeakerEncoder):
    """Speech by Silero VAD, a vector for each short window of it, and clusters of these vectors."""

    Options = FastOptions
    options: FastOptions
    requires = ("onnxruntime", "faster_whisper")
    runtime = "onnxruntime"
    licence = "CC-BY-4.0"
    capabilities = Capabilities(streaming=True)
    facts = WESPEAKER

    def load(self) -> None:
        """Open the encoder, and prove that it computes what it should. Raises ConfigurationError, ModelBroken."""
        encoder = model_file(self.context.model, "embedding", self.options.embedding)
        own = is_own(encoder, self.context)
        self._network = SpeakerNetwork(encoder, self.context)
        self.facts = encoder_facts(self._network, encoder if own else None)
        if own:
            self.check_computes()
        else:
            prove(embed=self.embed)

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when."""
        own = self.options
        if recording.length < LEAST_SAMPLES:
            return Diarization(turns=(), exclusive=())
        speech = self.speech(recording, progress=part(progress, 0, _VAD_DONE))
        windows = list(cut_up(speech, size=own.window, step=own.step))
        vectors = self._vectors(recording, windows, part(progress, _VAD_DONE, _LISTENED))
        clustered = part(progress, _LISTENED, 1)
        return diarized(windows, vectors, options, threshold=own.threshold, least=_LEAST, progress=clustered)

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice, at length 1. Raises InvalidAudio for less than a tenth of a second."""
        return self._network.embed(samples)

    def open_stream(self, options: DiarizeOptions) -> DiarizeStream:
        """Return what tells speakers as the audio comes; they are never told apart again later."""
        own = self.options
        threshold = own.threshold if options.threshold is None else options.threshold
        most = options.num_speakers or options.max_speakers
        return Follower(self.embed, threshold=threshold, most=most, window=own.window, least=_LEAST)

    def _vectors(self, recording: Recording, windows: list[Window], progress: Callable[[float], None]) -> Matrix:
        """Return the vectors of windows, shape (windows, size); each moment goes through the network once."""
        vectors = np.zeros((len(windows), self._network.size))
        if not windows:
            return vectors
        mean = level(recording, part(progress, 0, _LEVEL_DONE))
        frames = FrameBuffer(encoded(recording, self._network.encode, mean))
        listened = part(progress, _LEVEL_DONE, 1)
        for index, window in enumerate(windows):
            wider = max((_LEAST - window.duration) / 2, 0)
            heard = frames.between(max(window.start - wider, 0), window.end + wider)
            vectors[index] = self._network.project(heard, np.ones((1, len(heard)), dtype=np.float32))[0]
            listened(window.end * SAMPLE_RATE / recording.length)
        return vectors
