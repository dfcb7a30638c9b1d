"""One speaker per channel, as telephone systems and some meeting recorders store them: nothing but Silero VAD."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pydantic import Field

from asr.diarization.engine import (
    SAMPLE_RATE,
    Capabilities,
    Diarization,
    DiarizationEngine,
    DiarizeOptions,
    Recording,
)
from asr.diarization.shares import part, unheard
from asr.diarization.silero import speech
from asr.diarization.timeline import Activity, Grid, cleaned, cleaned_exclusive, numbered, strongest, turns
from core.engines import EngineOptions
from core.errors import InvalidAudio
from utils.audio.spans import Span

_STEP = 0.02
_FRAME = round(_STEP * SAMPLE_RATE)
_GRID = Grid(first=0.0, step=_STEP)
_BLOCK = 1500 * _FRAME  # 30 seconds
_SMOOTH = 25  # frames over which loudness is averaged: syllables are not compared with the gaps of another's
_SAME = 1e-4  # of the power: channels that differ less, 40 dB below the sound, are copies of one
_TINY = 1e-12
_VAD_DONE = 0.9  # share of the work that is done when speech has been found

Powers = npt.NDArray[np.float64]


class ChannelsOptions(EngineOptions):
    """Options of the channels engine."""

    crosstalk: float = Field(
        default=15.0,
        gt=0,
        description="Decibels by which who is heard in a channel must not be quieter than another channel's speaker.",
    )


class ChannelsEngine(DiarizationEngine):
    """Whoever is heard in a channel is its speaker; who is much quieter than another is a leak from his channel."""

    Options = ChannelsOptions
    options: ChannelsOptions
    requires = ("faster_whisper",)
    capabilities = Capabilities(overlap=True, hints=False, threshold=False, by_channel=True)

    def load(self) -> None:
        """Open Silero VAD by listening to a moment of silence."""
        from asr.diarization.clip import Clip

        speech(Clip(np.zeros(SAMPLE_RATE, dtype=np.float32)), progress=unheard)

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Tell who speaks when. Raises InvalidAudio for audio with one channel, or with the same sound in all."""
        channels = recording.channels
        if channels < 2:  # noqa: PLR2004 - one channel is no choice
            raise InvalidAudio("the audio has one channel, and this model needs one for each speaker", param="file")
        spans = [
            speech(recording, channel=channel, progress=part(progress, *_of_vad(channel, channels)))
            for channel in range(channels)
        ]
        powers = _powers(recording, part(progress, _VAD_DONE, 1))
        heard = np.stack([_frames(found, len(powers)) for found in spans], axis=1)
        active = heard & ~_leaks(powers, heard, self.options.crosstalk)
        return _diarization(active, powers, recording.length / SAMPLE_RATE, options)


def _of_vad(channel: int, channels: int) -> tuple[float, float]:
    return _VAD_DONE * channel / channels, _VAD_DONE * (channel + 1) / channels


def _powers(recording: Recording, progress: Callable[[float], None]) -> Powers:
    """Return the mean square of each channel around each frame, shape (frames, channels).

    Raises InvalidAudio where all channels have the same sound.
    """
    blocks = [np.zeros((0, recording.channels))]
    differs = whole = 0.0
    for start in range(0, recording.length, _BLOCK):
        stop = min(start + -(-(recording.length - start) // _FRAME) * _FRAME, start + _BLOCK)
        samples = np.stack([recording.read(start, stop, channel=one) for one in range(recording.channels)], axis=1)
        differs += float(((samples - samples[:, :1]) ** 2).sum())
        whole += float((samples**2).sum())
        blocks.append((samples**2).reshape(-1, _FRAME, recording.channels).mean(axis=1))
        progress(min(stop / recording.length, 1.0))
    if whole and differs <= _SAME * whole:
        raise InvalidAudio("all channels have the same sound, and this model needs one for each speaker", param="file")
    return _smoothed(np.concatenate(blocks))


def _smoothed(powers: Powers) -> Powers:
    """Return the means of _SMOOTH frames around each; fewer at the ends."""
    half = _SMOOTH // 2
    sums = np.concatenate([np.zeros((1, powers.shape[1])), np.cumsum(powers, axis=0)])
    places = np.arange(len(powers))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(powers))
    result: Powers = np.maximum(sums[last] - sums[first], 0) / (last - first)[:, None]
    return result


def _frames(spans: list[Span], count: int) -> npt.NDArray[np.bool_]:
    """Return in which of `count` frames there is speech."""
    found = np.zeros(count, dtype=np.bool_)
    for span in spans:
        found[_GRID.frame(span.start) : _GRID.frame(span.end)] = True
    return found


def _leaks(powers: Powers, heard: Activity, decibels: float) -> Activity:
    """Return where a channel has only what another one's speaker says, that much quieter."""
    # A leak may be taken for speech a little longer than its source.
    around = _smoothed(heard.astype(np.float64)) > 0
    loudest = np.where(around, powers, 0).max(axis=1, keepdims=True)
    found: Activity = powers < loudest * 10 ** (-decibels / 10)
    return found


def _diarization(active: Activity, powers: Powers, duration: float, options: DiarizeOptions) -> Diarization:
    loudness = np.where(active, powers + _TINY, 0.0)
    single = strongest(loudness, np.ones(len(loudness), dtype=np.int64))
    every, numbers = numbered(
        cleaned(turns(active, _GRID, duration=duration), min_on=options.min_on, min_off=options.min_off)
    )
    # Their speakers are numbered as they are in the others.
    order = sorted(numbers, key=numbers.__getitem__)
    alone = turns(single[:, order], _GRID, duration=duration)
    exclusive = cleaned_exclusive(alone, min_on=options.min_on, min_off=options.min_off)
    return Diarization(turns=tuple(every), exclusive=tuple(exclusive))
