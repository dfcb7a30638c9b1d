"""The pyannote engine: pipelines of pyannote.audio 4, with torch, from a folder or Hugging Face's cache.

Whoever may use a gated pipeline brings it into the cache once, with a token of his own: `hf download
pyannote/speaker-diarization-community-1`. Nothing is fetched here, and worker processes are offline. Checkpoints of
pyannote.audio are pickles: only those of people one trusts should be loaded.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from asr.diarization.foreign import adopted, held
from asr.diarization.likeness import unit
from asr.diarization.own_weights import own_name
from core.engines import EngineContext, EngineOptions
from core.errors import (
    ConfigurationError,
    DeviceOutOfMemory,
    InternalError,
    InvalidAudio,
    VoiceStackError,
)
from utils.audio.pcm import Samples

log = logging.getLogger(__name__)

LIBRARY = "pyannote.audio"
CONFIGURATION = "config.yaml"
CPU_BATCH = 4
"""Most windows that are heard at once on a CPU: progress is told, and the work can be ended, only between them."""
OWNER = "pyannote/"
"""Models whose names begin so are pipelines in Hugging Face's cache."""
_SHORTEST = SAMPLE_RATE // 10
_STEPS: Mapping[str, tuple[float, float]] = {"segmentation": (0.0, 0.4), "embeddings": (0.4, 1.0)}
"""What share of the work is done at the beginning and at the end of the steps that report how far they are."""


class PyannoteOptions(EngineOptions):
    """Options of the pyannote engine. The distances were measured with the speaker encoder of community-1."""

    pipeline: str = Field(
        default="pyannote/speaker-diarization-community-1",
        min_length=1,
        description="A folder with a pipeline's config.yaml, or the name of one in Hugging Face's cache.",
    )
    verify: float = Field(default=0.5, gt=0, le=2, description="Cosine distance up to which two voices are one's.")
    identify: float = Field(default=0.5, gt=0, le=2, description="The same for the mean of several samples.")


class PyannoteEngine(SpeakerEncoder):
    """A SpeakerDiarization pipeline that runs on this machine, such as community-1 or 3.1.

    Pipelines that send the audio to a server (precision-2) are refused. One recording is diarized at a time, and is in
    memory whole: 230 MB for an hour, besides what the pipeline needs.
    """

    Options: ClassVar[type[EngineOptions]] = PyannoteOptions
    options: PyannoteOptions
    requires = (LIBRARY, "torch", "faster_whisper")
    extra = "pyannote"
    runtime = "torch"
    licence = "MIT"
    capabilities = Capabilities(overlap=True, threshold=False)

    def __init__(self, context: EngineContext) -> None:
        super().__init__(context)
        self._lock = threading.Lock()  # of the pipeline
        self._voices = threading.Lock()  # of its encoder for single voices, which do not wait for a long recording
        self._torch: Any = None
        self._pipeline: Any = None

    def load(self) -> None:
        """Load the pipeline and prove that its encoder computes. Raises ConfigurationError, ModelBroken."""
        # The library reports every use to its makers unless it is told not to.
        os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
        import torch
        from pyannote.audio import Pipeline
        from pyannote.audio.pipelines import SpeakerDiarization

        self._torch = torch
        if self.context.threads:
            torch.set_num_threads(self.context.threads)
        name = self._checkpoint()
        try:
            pipeline = Pipeline.from_pretrained(name)
        except Exception as error:  # the seam: torch, YAML and the hub raise errors of no common class
            raise ConfigurationError(f"the pipeline {Path(name).name} cannot be loaded: {error}") from error
        if not isinstance(pipeline, SpeakerDiarization):
            raise ConfigurationError(f"{Path(name).name} is no speaker diarization pipeline that runs on this machine")
        pipeline.to(torch.device(self._device()))
        if self.context.device == "cpu":
            for name_of_size in ("segmentation_batch_size", "embedding_batch_size"):
                setattr(pipeline, name_of_size, min(getattr(pipeline, name_of_size), CPU_BATCH))
        self._pipeline = pipeline
        self.facts = EncoderFacts(
            model=encoder_name(name),
            size=int(self._encoder.dimension),
            verify=self.options.verify,
            identify=self.options.identify,
        )
        self.check_computes()

    def close(self) -> None:
        """Forget the weights."""
        self._pipeline = None

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when. Raises InternalError for what the library raises, DeviceOutOfMemory."""
        if recording.length < _SHORTEST or not self.speech(recording, progress=lambda _: progress(0.0)):
            return Diarization(turns=(), exclusive=())
        hook = Hook(progress)
        wave = self._torch.from_numpy(np.ascontiguousarray(recording.read(0, recording.length)))[None]
        with held(self._lock, progress), self._translated(hook):
            output = self._pipeline(
                {"waveform": wave, "sample_rate": SAMPLE_RATE},
                num_speakers=options.num_speakers,
                min_speakers=options.min_speakers,
                max_speakers=options.max_speakers,
                hook=hook,
            )
        return converted(output, options, recording.length / SAMPLE_RATE)

    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice, at length 1. Raises InvalidAudio for too little speech."""
        if len(samples) < self.facts.min_seconds * SAMPLE_RATE:
            raise InvalidAudio("there is too little speech to tell whose voice it is", param="file")
        wave = self._torch.from_numpy(np.ascontiguousarray(samples))[None, None]
        with self._voices, self._translated():
            vector = np.asarray(self._encoder(wave)[0], dtype=np.float32)
        if not np.isfinite(vector).all() or not vector.any():
            raise InvalidAudio("there is too little speech to tell whose voice it is", param="file")
        return unit(vector).astype(np.float32)

    @property
    def _encoder(self) -> Any:
        """The pipeline's own speaker encoder: no public attribute has it, and a second one would take its memory."""
        return self._pipeline._embedding  # noqa: SLF001

    def _checkpoint(self) -> str:
        """Return what to load: the model folder where it is a pipeline, else what the model or the options name."""
        folder, name = self.context.model, self.context.model_id
        if folder and (folder / CONFIGURATION).is_file():
            return str(folder)
        return name if name.startswith(OWNER) else self.options.pipeline

    def _device(self) -> str:
        """Return torch's name of the device; ROCm's devices are called cuda there."""
        context = self.context
        return f"cuda:{context.device_index}" if context.device in {"cuda", "rocm"} else context.device

    @contextmanager
    def _translated(self, hook: Hook | None = None) -> Iterator[None]:
        try:
            yield
        except VoiceStackError:
            raise
        except Exception as error:
            if hook is not None and error is hook.raised:
                raise
            if isinstance(error, self._torch.OutOfMemoryError):
                raise DeviceOutOfMemory("the device has no memory left to tell the speakers apart") from error
            log.exception("pyannote.audio failed")
            raise InternalError(f"pyannote.audio failed: {type(error).__name__}") from error


class Hook:
    """What a pipeline calls as it goes on: tells which share is done, and keeps what that raised."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self._share = 0.0
        self.raised: BaseException | None = None

    def __call__(
        self,
        step: str,
        artefact: Any,
        *,
        file: Any = None,
        total: int | None = None,
        completed: int | None = None,
    ) -> None:
        """Take in that a step goes on (`completed` of `total`) or has ended."""
        del artefact, file
        if step in _STEPS and total and completed is not None:
            first, last = _STEPS[step]
            self._share = max(self._share, first + (last - first) * min(completed / total, 1.0))
        try:
            self._tell(self._share)
        except BaseException as error:
            self.raised = error
            raise


def encoder_name(pipeline: str) -> str:
    """Return what the speaker encoder of a pipeline is called, which is a folder, its config.yaml, or on the hub.

    That of a folder is told by its files: those in its folder `embedding`, else all of them.
    """
    place = Path(pipeline)
    folder = place.parent if place.is_file() else place
    if not folder.is_dir():
        return f"pyannote:{place.name}"
    weights = folder / "embedding"
    files = sorted(path for path in (weights if weights.is_dir() else folder).rglob("*") if path.is_file())
    return own_name(f"pyannote:{folder.name}", *files)


def converted(output: Any, options: DiarizeOptions, duration: float) -> Diarization:
    """Return what a pipeline found in so many seconds: a DiarizeOutput, or the Annotation of a `legacy` one."""
    found = getattr(output, "speaker_diarization", output)
    alone = getattr(output, "exclusive_speaker_diarization", None)
    vectors = getattr(output, "speaker_embeddings", None)
    labels = found.labels()
    numbers = {label: number for number, label in enumerate(labels)}
    return adopted(
        _turns(found, numbers),
        options,
        duration=duration,
        alone=None if alone is None else _turns(alone, numbers),
        vectors={} if vectors is None else dict(zip(range(len(labels)), vectors, strict=False)),
    )


def _turns(annotation: Any, numbers: Mapping[Any, int]) -> list[Turn]:
    """Return the tracks of a pyannote.core Annotation."""
    return [
        Turn(float(segment.start), float(segment.end), numbers[label])
        for segment, _, label in annotation.itertracks(yield_label=True)
        if label in numbers
    ]
