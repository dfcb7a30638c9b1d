"""How loud samples are and where the sound in them is: for judging and evening out short recordings in memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from utils.audio.pcm import Audio

FRAME_SECONDS = 0.02
SILENCE_DB = -50.0
"""dBFS; frames below it are silent, however quiet the rest is."""
_DEPTH_DB = -35.0  # and so are frames this far below the loudest: room noise of a loud recording
_FULL_SCALE = 32760 / 32768
_RUN = 3


def loudness(audio: Audio) -> npt.NDArray[np.float32]:
    """Return the RMS of each whole frame of FRAME_SECONDS, in [0, 1]."""
    size = round(FRAME_SECONDS * audio.sample_rate)
    frames = audio.samples[: len(audio.samples) // size * size].reshape(-1, size)
    rms: npt.NDArray[np.float32] = np.sqrt(np.mean(np.square(frames), axis=1, dtype=np.float32))
    return rms


def sounding(rms: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return which frames of `loudness` are not silent."""
    threshold = max(amplitude(SILENCE_DB), float(rms.max(initial=0.0)) * amplitude(_DEPTH_DB))
    heard: npt.NDArray[np.bool_] = rms >= threshold
    return heard


def clipped_share(audio: Audio) -> float:
    """Return which part of the samples, 0 to 1, lies in flat tops: three or more in a row at full scale.

    A wave that only just reaches full scale has one or two such samples at a time.
    """
    full = np.abs(audio.samples) >= _FULL_SCALE
    if len(full) < _RUN:
        return 0.0
    tops = full[:-2] & full[1:-1] & full[2:]
    flat = np.zeros_like(full)
    for shift in range(_RUN):
        flat[shift : shift + len(tops)] |= tops
    return float(flat.mean())


def amplitude(decibels: float) -> float:
    """Return the factor that a level in dB stands for."""
    return float(10 ** (decibels / 20))
