"""Recordings that people send to have a voice cloned from: decoded, judged, and made into one plain kind of WAV."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core import errors
from core.spool import storage_error
from utils.audio import wav
from utils.audio.decode import DecoderKilled, Limits, MediaError, decode
from utils.audio.levels import FRAME_SECONDS, amplitude, clipped_share, loudness, sounding
from utils.audio.pcm import Audio, PcmFile

MAX_BYTES = 10 << 20
SAMPLE_RATE = 24_000
MIN_SECONDS, MAX_SECONDS = 3.0, 60.0
MIN_SOUND_SECONDS = 1.0
MAX_CONSENT_SECONDS = 120.0
_ROUNDING_SECONDS = 0.1  # what the padding of lossy formats adds
_MAX_CLIPPED = 0.002
_KEPT_SECONDS = 0.15
_LEVEL_DB, _PEAK_DB = -20.0, -1.0
_DECODE_SECONDS = 60
_ERRORS: dict[str, type[errors.VoiceStackError]] = {
    "unsupported": errors.UnsupportedFormat,
    "no_space": errors.InsufficientStorage,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording fit for cloning: mono 16-bit WAV at SAMPLE_RATE in `path`, its length, its content's SHA-256."""

    path: Path
    seconds: float
    sha256: str


async def read_sample(
    source: Path,
    target: Path,
    *,
    param: str = "audio_sample",
    min_seconds: float = MIN_SECONDS,
    max_seconds: float = MAX_SECONDS,
) -> Sample:
    """Decode a recording of any format and write it to `target`: levelled, without the silence at its ends.

    Raises InvalidAudio for what is too short or long, silent, clipped or damaged, UnsupportedFormat for what is no
    recording, all with `param`; DecoderFailed, InsufficientStorage. On an error there is no `target`.
    """
    pcm = await decode_recording(source, target.with_name(f"{target.name}.pcm"), param=param, max_seconds=max_seconds)
    try:
        return await asyncio.to_thread(_prepare, pcm, target, param, min_seconds)
    except OSError as error:
        await asyncio.to_thread(target.unlink, missing_ok=True)
        raise storage_error(error) from error
    finally:
        await asyncio.shield(asyncio.to_thread(pcm.path.unlink, missing_ok=True))


async def decode_recording(source: Path, target: Path, *, param: str, max_seconds: float) -> PcmFile:
    """Decode a recording to mono at SAMPLE_RATE in `target`. Raises what `read_sample` raises for damage and length."""
    limits = Limits(max_seconds=max_seconds + _ROUNDING_SECONDS, timeout=_DECODE_SECONDS, cpu_seconds=_DECODE_SECONDS)
    try:
        try:
            return await decode(source, target, limits=limits, sample_rate=SAMPLE_RATE)
        except DecoderKilled:  # once more: it may have been the memory of a moment
            return await decode(source, target, limits=limits, sample_rate=SAMPLE_RATE)
    except MediaError as error:
        told = f"the recording is longer than {max_seconds:g} seconds" if error.reason == "too_long" else str(error)
        raise _ERRORS.get(error.reason, errors.InvalidAudio)(told, param=param) from error
    except DecoderKilled as error:
        raise errors.DecoderFailed("the audio decoder was ended from outside; try again") from error
    except OSError as error:
        raise storage_error(error) from error


async def check_consent(source: Path, scratch: Path, *, param: str) -> None:
    """Raise InvalidAudio and its kin unless somebody can be heard in a recording; `scratch` is written and removed."""
    pcm = await decode_recording(source, scratch, param=param, max_seconds=MAX_CONSENT_SECONDS)
    try:
        heard = await asyncio.to_thread(lambda: sound_seconds(Audio(pcm.read(), pcm.sample_rate)))
    finally:
        await asyncio.shield(asyncio.to_thread(scratch.unlink, missing_ok=True))
    if heard < MIN_SOUND_SECONDS:
        raise errors.InvalidAudio("nothing is said in the recording", param=param)


def sound_seconds(audio: Audio) -> float:
    """Return for how long something is heard."""
    return float(sounding(loudness(audio)).sum()) * FRAME_SECONDS


def _prepare(pcm: PcmFile, target: Path, param: str, min_seconds: float) -> Sample:
    audio = Audio(pcm.read(), pcm.sample_rate)
    if audio.duration < min_seconds - FRAME_SECONDS:
        raise errors.InvalidAudio(
            f"the recording is {audio.duration:.1f} seconds long; at least {min_seconds:g} are needed", param=param
        )
    heard = sound_seconds(audio)
    if heard < min(MIN_SOUND_SECONDS, min_seconds):
        raise errors.InvalidAudio(
            "the recording is silent" if not heard else "the recording is nearly all silence", param=param
        )
    if clipped_share(audio) > _MAX_CLIPPED:
        raise errors.InvalidAudio("the recording is clipped; record it again at a lower level", param=param)
    audio = _levelled(_trimmed(audio))
    return _written(audio, target)


def _trimmed(audio: Audio) -> Audio:
    (heard,) = np.nonzero(sounding(loudness(audio)))
    kept = round(_KEPT_SECONDS * audio.sample_rate)
    frame = round(FRAME_SECONDS * audio.sample_rate)
    start = max(0, int(heard[0]) * frame - kept)
    return Audio(audio.samples[start : (int(heard[-1]) + 1) * frame + kept], audio.sample_rate)


def _levelled(audio: Audio) -> Audio:
    """Return the samples at one level for all voices, as far as their peaks allow."""
    rms = loudness(audio)
    level = float(np.sqrt(np.mean(np.square(rms[sounding(rms)]))))
    peak = float(np.abs(audio.samples).max())
    gain = min(amplitude(_LEVEL_DB) / level, amplitude(_PEAK_DB) / peak)
    return Audio(audio.samples * np.float32(gain), audio.sample_rate)


def _written(audio: Audio, target: Path) -> Sample:
    data = wav.header(audio.sample_rate, frames=len(audio.samples)) + audio.to_s16()
    with target.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Sample(target, audio.duration, hashlib.sha256(data).hexdigest())
