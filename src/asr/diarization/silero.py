"""Where somebody speaks in a recording of any length, by Silero VAD. For worker processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from utils.audio.spans import Span
from utils.audio.vad import SAMPLE_RATE, SpeechFinder

if TYPE_CHECKING:
    from asr.diarization.engine import Recording

_BLOCK = 30 * SAMPLE_RATE
_PAUSE_MS = 100


def speech(recording: Recording, *, progress: Callable[[float], None], channel: int | None = None) -> list[Span]:
    """Return the spans with speech of a channel, None for the average of all, in order and apart.

    Pauses of a tenth of a second split. `progress` is told the share of the recording that was heard.
    """
    finder = SpeechFinder(min_silence_ms=_PAUSE_MS, padding_ms=0)
    found: list[Span] = []
    begun: int | None = None
    for start in range(0, recording.length, _BLOCK):
        stop = min(start + _BLOCK, recording.length)
        samples = recording.read(start, stop, channel=channel)
        for first, last, ends in finder.feed(samples, last=stop == recording.length):
            begun = first if begun is None else begun
            if ends:
                found.append(Span(begun / SAMPLE_RATE, last / SAMPLE_RATE))
                begun = None
        progress(stop / recording.length)
    return found
