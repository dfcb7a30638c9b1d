"""Where somebody speaks: Silero VAD as faster-whisper carries it. For worker processes: loaded when first used."""

from __future__ import annotations

import numpy as np

from utils.audio.pcm import Audio
from utils.audio.spans import Span

SAMPLE_RATE = 16_000
_SHORT_PAUSE_MS = 100
_QUIET_SECONDS = 0.1


def speech(
    audio: Audio,
    *,
    threshold: float = 0.5,
    min_speech_ms: int = 0,
    min_silence_ms: int = 2000,
    padding_ms: int = 400,
) -> list[Span]:
    """Return the spans with speech, in order and apart; gaps below `min_silence_ms` do not split.

    The audio must be at 16 kHz. Safe to call from many threads.
    """
    if audio.sample_rate != SAMPLE_RATE:
        raise ValueError(f"the VAD works at {SAMPLE_RATE} Hz, not at {audio.sample_rate}")
    if not len(audio.samples):
        return []
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # noqa: PLC0415

    options = VadOptions(
        threshold=threshold,
        min_speech_duration_ms=min_speech_ms,
        min_silence_duration_ms=min_silence_ms,
        speech_pad_ms=padding_ms,
    )
    found = get_speech_timestamps(audio.samples, options, sampling_rate=SAMPLE_RATE)
    return [Span(item["start"] / SAMPLE_RATE, item["end"] / SAMPLE_RATE) for item in found]


def find_silence(audio: Audio) -> float:
    """Return the second at which cutting this audio hurts least.

    That is the middle of the longest pause between words, else of the quietest tenth of a second.
    """
    spans = speech(audio, min_silence_ms=_SHORT_PAUSE_MS, padding_ms=0)
    edges = [0.0, *(edge for span in spans for edge in (span.start, span.end)), audio.duration]
    pauses = [Span(*edges[i : i + 2]) for i in range(0, len(edges), 2)]
    longest = max(pauses, key=lambda pause: pause.duration)
    if longest.duration >= _SHORT_PAUSE_MS / 1000:
        return (longest.start + longest.end) / 2
    return _quietest(audio)


def _quietest(audio: Audio) -> float:
    size = round(_QUIET_SECONDS * audio.sample_rate)
    count = len(audio.samples) // size
    if not count:
        return audio.duration / 2
    blocks = audio.samples[: count * size].reshape(count, size)
    energy = np.einsum("ij,ij->i", blocks, blocks)
    return (int(energy.argmin()) + 0.5) * _QUIET_SECONDS
