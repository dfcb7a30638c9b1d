"""Speech that is written while it still comes: what an engine that listens on and on gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from asr.transcript import Segment
from utils.audio.pcm import Samples


@dataclass(frozen=True, slots=True)
class StreamText:
    """What is known now: `segments` that are final since the last time, and `pending`, a text that may still change.

    Times are seconds from the beginning of the stream.
    """

    segments: tuple[Segment, ...] = ()
    pending: str = ""


class AsrStream(ABC):
    """One speaker's audio; all its state is here, so that many streams share a model. Used by one thread at a time."""

    @abstractmethod
    def feed(self, samples: Samples, *, last: bool = False) -> StreamText:
        """Take the next 16 kHz samples, shape (n,), and return what is known; with `last` all that is said is final.

        Raises InvalidAudio for samples that are not finite numbers.
        """

    def close(self) -> None:  # noqa: B027 - a stream with nothing to free need not say so
        """Free what the stream holds; calling it twice is fine."""
