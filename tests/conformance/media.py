"""Audio for the rows: tones in any container, and what a decoder other than ours finds in an answer."""

from __future__ import annotations

import base64
import functools
import io
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

RATE = 16_000
# What ffmpeg is told for a container.
CONTAINERS: dict[str, tuple[str, ...]] = {
    "flac": ("-f", "flac"),
    "mp3": ("-f", "mp3"),
    "mp4": ("-f", "mp4"),
    "mpeg": ("-f", "mpeg", "-c:a", "mp2"),
    "mpga": ("-f", "mp2"),
    "m4a": ("-f", "ipod"),
    "ogg": ("-f", "ogg", "-c:a", "libvorbis"),
    "opus": ("-f", "ogg", "-c:a", "libopus"),
    "wav": ("-f", "wav"),
    "webm": ("-f", "webm", "-c:a", "libopus"),
    "aac": ("-f", "adts"),
    "aiff": ("-f", "aiff"),
    "mkv": ("-f", "matroska", "-c:a", "aac"),
    "mov": ("-f", "mov", "-c:a", "aac"),
    "avi": ("-f", "avi", "-c:a", "libmp3lame"),
    "au": ("-f", "au"),
    "amr": ("-f", "amr", "-ar", "8000", "-c:a", "libopencore_amrnb"),
}


@dataclass(frozen=True)
class Heard:
    """What PyAV decoded: seconds, Hz, channels, the names of container and codec."""

    seconds: float
    rate: int
    channels: int
    container: str
    codec: str


def s16(seconds: float, frequency: float = 220, rate: int = RATE) -> bytes:
    """Raw s16le mono samples of a tone."""
    tone = 0.3 * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * frequency / rate)
    return bytes((tone * 32767).astype("<i2").tobytes())


def wav(samples: bytes, rate: int = RATE) -> bytes:
    """Wrap raw samples into a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples)
    return file.getvalue()


def tone(seconds: float = 2.0, frequency: float = 220) -> bytes:
    """A WAV of something that is not silence."""
    return wav(s16(seconds, frequency))


def silence(seconds: float = 2.0) -> bytes:
    """A WAV of digital silence."""
    return wav(bytes(round(seconds * RATE) * 2))


@functools.lru_cache(maxsize=32)
def encoded(container: str, seconds: float = 2.0) -> bytes:
    """A tone in one of CONTAINERS."""
    return ffmpeg(*CONTAINERS[container], given=tone(seconds))


@functools.lru_cache(maxsize=2)
def video(seconds: float = 2.0) -> bytes:
    """A Matroska file with a picture and two audio streams, 220 Hz and silence."""
    size = ("-f", "lavfi", "-i", f"color=c=black:s=64x48:d={seconds}")
    quiet = ("-f", "lavfi", "-t", str(seconds), "-i", "anullsrc=r=16000:cl=mono")
    streams = ("-map", "1:v", "-map", "0:a", "-map", "2:a", "-c:v", "mpeg4", "-c:a", "aac", "-f", "matroska")
    return ffmpeg(*size, *quiet, *streams, given=tone(seconds))


def ffmpeg(*arguments: str, given: bytes) -> bytes:
    """Let ffmpeg turn the content into a file and return that: some containers cannot be written to a pipe."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "pipe:0", *arguments, str(target)]
        subprocess.run(command, input=given, capture_output=True, check=True)
        return target.read_bytes()


def heard(content: bytes) -> Heard:
    """Decode all of it and say what it is."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        layout = stream.codec_context.channels
        return Heard(samples / stream.rate, stream.rate, layout, container.format.name, stream.codec_context.name)


def samples(content: bytes) -> bytes:
    """Decode into raw s16le, 16 kHz mono."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(io.BytesIO(content)) as container:
        found = [each for frame in container.decode(audio=0) for each in resampler.resample(frame)]
    return b"".join(each.to_ndarray().tobytes() for each in [*found, *resampler.resample(None)])


def data_url(content: bytes, mime: str = "audio/wav") -> str:
    """The content as a data URL."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
