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
from asr.diarization.networks import LEAST_SAMPLES, WESPEAKER, SpeakerNetwork, encoder_facts, model_file
from asr.diarization.reference import prove
from asr.diarization.shares import part
from asr.diarization.short_windows import Piece, cut_up, told
from asr.diarization.stats import FrameBuffer, encoded, level
from asr.diarization.vbx import Matrix
from core.engines import EngineOptions
from core.errors import ModelBroken
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
    capabilities = Capabilities(streaming=True, embeddings=True)
    facts = WESPEAKER

    def load(self) -> None:
        """Open the encoder, and prove that it computes what it should. Raises ConfigurationError, ModelBroken."""
        own = self.options.embedding
        self._network = SpeakerNetwork(model_file(self.context.model, "embedding", own), self.context)
        self.facts = encoder_facts(self._network, own)
        prove(embed=None if own else self.embed)
        tone = np.sin(np.arange(2 * SAMPLE_RATE) * 0.05).astype(np.float32) * np.float32(0.1)
        if not np.isfinite(self.embed(tone)).all():
            raise ModelBroken(f"{self.context.model_id} computes nonsense: its weights are damaged")

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when."""
        own = self.options
        if recording.length < LEAST_SAMPLES:
            return Diarization(turns=(), exclusive=())
        speech = self.speech(recording, progress=part(progress, 0, _VAD_DONE))
        pieces = list(cut_up(speech, size=own.window, step=own.step))
        vectors = self._vectors(recording, pieces, part(progress, _VAD_DONE, _LISTENED))
        clustered = part(progress, _LISTENED, 1)
        return told(pieces, vectors, options, threshold=own.threshold, least=_LEAST, progress=clustered)

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice, at length 1. Raises InvalidAudio for less than a tenth of a second."""
        return self._network.embed(samples)

    def open_stream(self, options: DiarizeOptions) -> DiarizeStream:
        """Return what tells speakers as the audio comes; they are never told apart again later."""
        own = self.options
        threshold = own.threshold if options.threshold is None else options.threshold
        most = options.num_speakers or options.max_speakers
        return Follower(self.embed, threshold=threshold, most=most, window=own.window, least=_LEAST)

    def _vectors(self, recording: Recording, pieces: list[Piece], progress: Callable[[float], None]) -> Matrix:
        """Return the vectors of windows, shape (windows, size); each moment goes through the network once."""
        vectors = np.zeros((len(pieces), self._network.size))
        if not pieces:
            return vectors
        mean = level(recording, part(progress, 0, _LEVEL_DONE))
        frames = FrameBuffer(encoded(recording, self._network.encode, mean))
        listened = part(progress, _LEVEL_DONE, 1)
        for index, piece in enumerate(pieces):
            wider = max((_LEAST - piece.duration) / 2, 0)
            heard = frames.between(max(piece.start - wider, 0), piece.end + wider)
            vectors[index] = self._network.project(heard, np.ones((1, len(heard)), dtype=np.float32))[0]
            listened(piece.end * SAMPLE_RATE / recording.length)
        return vectors
