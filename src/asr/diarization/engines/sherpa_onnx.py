"""The sherpa-onnx engine: a pyannote segmentation model, a speaker encoder and fast clustering, all native code.

The models are the user's: ONNX files with the metadata that sherpa-onnx reads, as its releases have them
(speaker-segmentation-models, speaker-recongition-models).
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

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
from asr.diarization.foreign import adopted, exclusive, held
from asr.diarization.likeness import unit
from asr.diarization.own_weights import own_name
from core.engines import EngineContext, EngineOptions
from core.errors import ConfigurationError, InvalidAudio, ModelBroken
from utils.audio.pcm import Samples

log = logging.getLogger(__name__)

SEGMENTATION_FACTS = (
    "sample_rate", "window_size", "receptive_field_size", "receptive_field_shift", "num_speakers",
    "powerset_max_classes", "num_classes",
)  # fmt: skip
ENCODER_FACTS = ("output_dim", "sample_rate", "normalize_samples", "language", "framework")
"""Metadata without which the library ends the process instead of raising an error."""
VOICE_SECONDS = 30.0
"""Of a speaker's longest turns, so much makes the vector of the voice."""
_ANY = -1
_SHORTEST = SAMPLE_RATE // 10
_ERRORS_ONLY = 3


class SherpaOnnxOptions(EngineOptions):
    """Options of the sherpa-onnx engine. Which distances suit depends on the speaker encoder."""

    segmentation: Path | None = Field(
        default=None, description="The segmentation model (ONNX); else segmentation.onnx in the model's folder."
    )
    embedding: Path | None = Field(
        default=None, description="The speaker encoder (ONNX); else embedding.onnx in the model's folder."
    )
    threshold: float = Field(default=0.5, gt=0, le=2, description="Higher finds fewer speakers.")
    verify: float = Field(default=0.5, gt=0, le=2, description="Cosine distance up to which two voices are one's.")
    identify: float = Field(default=0.5, gt=0, le=2, description="The same for the mean of several samples.")


class SherpaOnnxEngine(SpeakerEncoder):
    """sherpa-onnx's OfflineSpeakerDiarization on the CPU; one recording at a time, which is in memory whole.

    It can be told how many speakers there are, but no bounds: where its own number is out of them, it is asked once
    more for the nearest one that is allowed. While its segmentation runs it tells no progress and lets no other thread
    of the process run.
    """

    Options: ClassVar[type[EngineOptions]] = SherpaOnnxOptions
    options: SherpaOnnxOptions
    requires = ("sherpa_onnx", "onnxruntime", "faster_whisper")
    extra = "sherpa"
    licence = "Apache-2.0"
    capabilities = Capabilities(overlap=True)

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._lock = threading.Lock()  # of the diarizer, whose configuration changes from recording to recording
        self._voices = threading.Lock()  # of the extractor: a voice does not wait for a long recording
        self._library: Any = None
        self._diarizer: Any = None
        self._extractor: Any = None
        self._paths: tuple[Path, Path] = (Path(), Path())

    def load(self) -> None:
        """Open both models and prove that the encoder computes. Raises ConfigurationError, ModelBroken."""
        import sherpa_onnx

        self._library = sherpa_onnx
        segmentation, encoder = self._paths = self._file("segmentation"), self._file("embedding")
        checked(segmentation, SEGMENTATION_FACTS)
        checked(encoder, ENCODER_FACTS)
        config = self._config(_ANY, self.options.threshold)
        if not config.validate():
            raise ModelBroken("sherpa-onnx cannot use these models; its reason is in the log")
        self._diarizer = sherpa_onnx.OfflineSpeakerDiarization(config)
        if self._diarizer.sample_rate != SAMPLE_RATE:
            raise ModelBroken(f"{segmentation.name} is not for audio at {SAMPLE_RATE} Hz")
        self._extractor = sherpa_onnx.SpeakerEmbeddingExtractor(self._encoder_config())
        self.facts = EncoderFacts(
            model=own_name(f"sherpa-onnx:{encoder.stem}", encoder),
            size=int(self._extractor.dim),
            verify=self.options.verify,
            identify=self.options.identify,
        )
        self.check_computes()

    def close(self) -> None:
        """Forget the weights."""
        self._diarizer = self._extractor = None

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when. What `progress` raises ends the work at the next window."""
        if recording.length < _SHORTEST or not self.speech(recording, progress=lambda _: progress(0.0)):
            return Diarization(turns=(), exclusive=())
        samples = np.ascontiguousarray(recording.read(0, recording.length), dtype=np.float32)
        threshold = self.options.threshold if options.threshold is None else options.threshold
        bounded = options.num_speakers is None and bool(options.min_speakers or options.max_speakers)
        first = 0.5 if bounded else 1.0
        with held(self._lock, progress):
            found = self._process(samples, options.num_speakers or _ANY, threshold, lambda done: progress(first * done))
            if bounded and (count := allowed(_count(found), options)) != _count(found):
                found = self._process(samples, count, threshold, lambda done: progress(0.5 + 0.5 * done))
        vectors = self._vectors(samples, found)
        return adopted(found, options, duration=len(samples) / SAMPLE_RATE, vectors=vectors)

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice, at length 1. Raises InvalidAudio for too little speech."""
        found = None
        if len(samples) >= self.facts.min_seconds * SAMPLE_RATE:
            found = self._embedded(samples)
        if found is None:
            raise InvalidAudio("there is too little speech to tell whose voice it is", param="file")
        return found

    def _process(self, samples: Samples, count: int, threshold: float, progress: Callable[[float], None]) -> list[Turn]:
        def told(done: int, total: int) -> int:
            progress(done / max(total, 1))
            return 0

        self._diarizer.set_config(self._config(count, threshold))
        found = self._diarizer.process(samples, callback=told).sort_by_start_time()
        return [Turn(float(one.start), float(one.end), int(one.speaker)) for one in found]

    def _vectors(self, samples: Samples, found: Sequence[Turn]) -> dict[int, Vector]:
        """Return a vector for each speaker who talks alone for long enough."""
        alone: dict[int, list[Turn]] = defaultdict(list)
        for turn in exclusive(found):
            alone[turn.speaker].append(turn)
        vectors = {speaker: self._embedded(longest(samples, turns)) for speaker, turns in alone.items()}
        return {speaker: vector for speaker, vector in vectors.items() if vector is not None}

    def _embedded(self, samples: Samples) -> Vector | None:
        """Return the vector of a voice; None for too little of it."""
        with self._voices:
            stream = self._extractor.create_stream()
            stream.accept_waveform(sample_rate=SAMPLE_RATE, waveform=np.ascontiguousarray(samples))
            stream.input_finished()
            if not self._extractor.is_ready(stream):
                return None
            return unit(np.asarray(self._extractor.compute(stream))).astype(np.float32)

    def _config(self, count: int, threshold: float) -> Any:
        library = self._library
        return library.OfflineSpeakerDiarizationConfig(
            segmentation=library.OfflineSpeakerSegmentationModelConfig(
                pyannote=library.OfflineSpeakerSegmentationPyannoteModelConfig(model=str(self._paths[0])),
                num_threads=self._threads,
            ),
            embedding=self._encoder_config(),
            clustering=library.FastClusteringConfig(num_clusters=count, threshold=threshold),
            min_duration_on=0.0,
            min_duration_off=0.0,
        )

    def _encoder_config(self) -> Any:
        return self._library.SpeakerEmbeddingExtractorConfig(model=str(self._paths[1]), num_threads=self._threads)

    @property
    def _threads(self) -> int:
        return max(self.context.threads, 1)

    def _file(self, name: str) -> Path:
        own: Path | None = getattr(self.options, name)
        path = own or (self.context.model / f"{name}.onnx" if self.context.model else None)
        if path is None:
            raise ConfigurationError(f"the sherpa-onnx engine needs the option {name!r}: the path of an ONNX file")
        if not path.is_file():
            raise ConfigurationError(f"there is no {path.name}, which the sherpa-onnx engine needs as {name!r}")
        return path


def checked(path: Path, facts: Sequence[str]) -> None:
    """Raise ModelBroken for a file that is no ONNX model with this metadata."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the seam: onnxruntime's errors share no base class
        raise ModelBroken(f"{path.name} cannot be loaded: {error}") from error
    known = session.get_modelmeta().custom_metadata_map
    if missing := [name for name in facts if name not in known]:
        raise ModelBroken(f"{path.name} does not say its {', '.join(missing)}, so sherpa-onnx cannot use it")


def allowed(count: int, options: DiarizeOptions) -> int:
    """Return the number of speakers nearest to `count` that the bounds allow; where nobody speaks it is 0."""
    if not count:
        return 0
    most = options.max_speakers or count
    return min(max(count, options.min_speakers or 1), max(most, options.min_speakers or 1))


def longest(samples: Samples, turns: Sequence[Turn]) -> Samples:
    """Return the samples of the longest turns, VOICE_SECONDS together at most."""
    parts: list[Samples] = []
    left = round(VOICE_SECONDS * SAMPLE_RATE)
    for turn in sorted(turns, key=lambda turn: turn.start - turn.end):
        part = samples[round(turn.start * SAMPLE_RATE) : round(turn.end * SAMPLE_RATE)][:left]
        parts.append(part)
        left -= len(part)
        if left <= 0:
            break
    return np.concatenate(parts)


def _count(turns: Sequence[Turn]) -> int:
    return len({turn.speaker for turn in turns})
