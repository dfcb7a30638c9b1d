"""The interface of a diarization engine: 16 kHz samples in, who speaks when out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from asr.diarization import silero
from core.engines import Engine
from core.errors import InvalidAudio, ModelBroken, NotSupported
from utils.audio.pcm import Samples
from utils.audio.spans import Span

Vector = npt.NDArray[np.float32]
SAMPLE_RATE = 16_000


class Recording(Protocol):
    """What is diarized: read as often and in whatever parts an engine needs; all at 16 kHz, in [-1, 1]."""

    @property
    def length(self) -> int:
        """Samples of one channel."""

    @property
    def channels(self) -> int:
        """Channels."""

    def read(self, start: int, stop: int, *, channel: int | None = None) -> Samples:
        """Return samples [start, stop) of one channel, None for the average of all; what lies outside is silence."""


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """Speaker number `speaker` talks from `start` to `end`, in seconds; 0 talks first."""

    start: float
    end: float
    speaker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiarizeOptions:
    """What a request asks of a diarization; None: as the engine thinks best.

    `num_speakers` says how many there are, or `min_speakers` and `max_speakers` in which bounds. `threshold` is the
    engine's distance between speakers. Pauses up to `min_off` seconds are closed, then turns shorter than `min_on`
    dropped.
    """

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    threshold: float | None = None
    min_on: float = 0.0
    min_off: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diarization:
    """Who speaks when.

    `turns` may overlap; in `exclusive` one speaker at most talks at a time. Both are in order of time. `embeddings` has
    a vector of shape (size,) for each speaker, by number; it is empty for engines that have none.
    """

    turns: tuple[Turn, ...]
    exclusive: tuple[Turn, ...]
    embeddings: Mapping[int, Vector] = field(default_factory=dict)

    @property
    def speakers(self) -> tuple[int, ...]:
        """The numbers of all who speak."""
        return tuple(sorted({turn.speaker for turn in self.turns}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do.

    `max_speakers` is None for any number, `hints` whether it can be told how many there are, `by_channel` whether it
    hears the channels of a recording apart.
    """

    max_speakers: int | None = None
    overlap: bool = False
    streaming: bool = False
    hints: bool = True
    threshold: bool = True
    by_channel: bool = False


class DiarizeStream(ABC):
    """Tells who speaks while the audio is still coming."""

    @abstractmethod
    def feed(self, samples: Samples, *, last: bool = False) -> list[Turn]:
        """Take the next 16 kHz samples, shape (n,), and return the turns that are known now; `last` ends the stream.

        They come in order and do not overlap; one may go on where the one before ended, with the same speaker.
        """


class DiarizationEngine(Engine):
    """Base of diarization engines. `diarize` runs in as many threads at once as `context.workers` says."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    @abstractmethod
    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when. `progress` is told the share that is done, and raises when nobody waits any more.

        A recording without speech has no turns. Options that the capabilities exclude are never given.
        """

    def open_stream(self, options: DiarizeOptions) -> DiarizeStream:
        """Return what tells speakers as the audio comes; NotSupported unless the capabilities have `streaming`.

        The least number of speakers and the lengths of turns and pauses are for whole recordings, and do not matter.
        """
        del options
        raise NotSupported(f"{type(self).__name__} tells speakers of whole recordings alone")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFacts:
    """What the vectors of a speaker encoder are: comparable with those of the same `model` alone.

    Two voices whose cosine distance is at most `verify` are taken for one person's; `identify` is that for the mean of
    several samples. Less than `sure_seconds` of speech make an uncertain vector, less than `min_seconds` none.
    """

    model: str
    size: int
    verify: float
    identify: float
    min_seconds: float = 0.5
    sure_seconds: float = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Voiceprint:
    """The voice in a recording: `vector` has shape (size,) and length 1, made of `seconds` of speech.

    `facts` say what it can be compared with and how.
    """

    vector: Vector
    seconds: float
    facts: EncoderFacts


class SpeakerEncoder(DiarizationEngine):
    """A diarization engine that also gives a vector for the voice of one person."""

    facts: EncoderFacts
    """Of the class, or of the object when `load` has seen an encoder of the user's own."""

    @abstractmethod
    def embed(self, samples: Samples) -> Vector:
        """Return the vector of the voice in 16 kHz samples of speech, shape (facts.size,), at length 1.

        Raises InvalidAudio, with param "file", for too little to make a vector of.
        """

    def speech(self, recording: Recording, *, progress: Callable[[float], None]) -> list[Span]:
        """Return where somebody speaks, in order and apart; what is embedded is cut out of a recording by it."""
        return silero.speech(recording, progress=progress)

    def check_computes(self) -> None:
        """Raise ModelBroken unless a tone has a vector. For the end of `load`, where no better proof is known."""
        tone = np.sin(np.arange(2 * SAMPLE_RATE) * 0.05).astype(np.float32) * np.float32(0.1)
        try:
            vector = self.embed(tone)
        except InvalidAudio:
            vector = np.zeros(1, dtype=np.float32)
        if not (np.isfinite(vector).all() and vector.any()):
            raise ModelBroken(f"the speaker encoder of {self.context.model_id} computes nonsense: it may be damaged")
